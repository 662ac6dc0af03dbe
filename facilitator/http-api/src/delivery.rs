//! A response body with a receipt: it counts as delivered at the moment at which the connection takes the bytes, and as
//! lost when the connection ends before.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};

use base::service::Receipt;

/// The body of a response.
pub(super) fn body(text: String, receipt: Receipt) -> Body {
    Body::new(Receipted {
        left: Some((Bytes::from(text), receipt)),
    })
}

struct Receipted {
    /// What the connection has not taken yet.
    left: Option<(Bytes, Receipt)>,
}

impl hyper::body::Body for Receipted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().left.take().map(|(bytes, receipt)| {
            receipt.delivered();
            Ok(Frame::data(bytes))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none()
    }

    /// Exact, so that the response has a `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        let length = self.left.as_ref().map_or(0, |(bytes, _)| bytes.len());
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
