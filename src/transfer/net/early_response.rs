//! Connector for servers that send a final response instead of `100 Continue`.
//!
//! `ureq` reads the response, sees that it is not `100 Continue` (RFC 9110, section 10.1.1), and
//! waits for more input before it parses the response again. That takes until the timeout, or
//! until the server closes the connection, which can look like an error with TLS. This connector
//! reports the input that is already in the buffer once more.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Connector that wraps each connection in [`EarlyResponse`].
#[derive(Debug)]
pub(super) struct AnswersFirst;

/// Connection that does not wait for input if complete response headers are in the buffer.
#[derive(Debug)]
pub(super) struct EarlyResponse<T> {
    inner: T,
    /// Bytes in the buffer when headers were last reported. If the caller asks again and no bytes
    /// were added, it needs more input.
    reported: usize,
}

impl<In: Transport> Connector<In> for AnswersFirst {
    type Out = EarlyResponse<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|inner| EarlyResponse { inner, reported: 0 }))
    }
}

impl<T: Transport> Transport for EarlyResponse<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.reported = 0;
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let input = self.inner.buffers().input();
        let is_head = input.starts_with(b"HTTP/1.") && memchr::memmem::find(input, b"\r\n\r\n").is_some();
        if is_head && input.len() != self.reported {
            self.reported = input.len();
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
