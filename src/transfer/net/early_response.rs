//! An answer that came instead of `100 Continue` is taken as it is there.
//!
//! The client library looks at what came, sees that it is not "continue" (RFC 9110, 10.1.1), and then waits for more before it
//! looks again: for a minute, or until the server closes the connection, which over TLS may look like a fault.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Puts [`EarlyResponse`] around a connection.
#[derive(Debug)]
pub(super) struct AnswersFirst;

/// A connection that does not wait for more where the head of an answer is there already.
#[derive(Debug)]
pub(super) struct EarlyResponse<T> {
    inner: T,
    /// So much input there was when a head was last seen; whoever asks again with no more does need more.
    seen: usize,
}

impl<In: Transport> Connector<In> for AnswersFirst {
    type Out = EarlyResponse<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| EarlyResponse { inner, seen: 0 }))
    }
}

impl<T: Transport> Transport for EarlyResponse<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.seen = 0;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.inner.buffers().input();
        let is_head = input.starts_with(b"HTTP/1.") && memchr::memmem::find(input, b"\r\n\r\n").is_some();
        if is_head && input.len() != self.seen {
            self.seen = input.len();
            return Ok(true);
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
