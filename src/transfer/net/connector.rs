//! TCP connector that tries the IP addresses of a host one after the other.

use std::time::{Duration, Instant};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};

/// Opens TCP connections with a timeout per IP address.
///
/// With one timeout for all, an address that does not respond would use up the time of the next.
#[derive(Debug)]
pub(super) struct EachAddress {
    tcp: TcpConnector,
    timeout_per_address: Duration,
}

impl EachAddress {
    pub(super) fn new(timeout_per_address: Duration) -> Self {
        EachAddress { tcp: TcpConnector::default(), timeout_per_address }
    }
}

impl<In: Transport> Connector<In> for EachAddress {
    type Out = <TcpConnector as Connector<In>>::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if chained.is_some() {
            return self.tcp.connect(details, chained);
        }
        let began = Instant::now();
        let mut failure = ureq::Error::ConnectionFailed;
        for address in &details.addrs {
            let left = (*details.timeout.after).saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            let after =
                ureq::unversioned::transport::time::Duration::Exact(left.min(self.timeout_per_address));
            let mut addrs = details.resolver.empty();
            addrs.push(*address);
            let one = ConnectionDetails {
                addrs,
                timeout: NextTimeout { after, ..details.timeout },
                now: (details.current_time)(),
                current_time: details.current_time.clone(),
                run_connector: details.run_connector.clone(),
                register_shutdown: details.register_shutdown.clone(),
                ..*details
            };
            match Connector::<In>::connect(&self.tcp, &one, None) {
                Ok(connection) => return Ok(connection),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
