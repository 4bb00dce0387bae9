//! One address of a host after the other, each with its own time.

use std::time::{Duration, Instant};
use ureq::unversioned::transport::{ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};

/// Opens TCP connections. An address where nothing answers takes its own time, not that of the next one.
#[derive(Debug)]
pub(super) struct EachAddress {
    tcp: TcpConnector,
    patience: Duration,
}

impl EachAddress {
    pub(super) fn new(patience: Duration) -> Self {
        EachAddress { tcp: TcpConnector::default(), patience }
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
            let after = ureq::unversioned::transport::time::Duration::Exact(left.min(self.patience));
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
