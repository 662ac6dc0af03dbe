//! A response body with a receipt. The receipt counts as delivered when the connection takes the bytes, and as lost when
//! the connection ends earlier.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use base::service::Receipt;
use hyper::body::{Frame, SizeHint};

/// Makes a response body that reports its delivery to `receipt`.
pub(super) fn body(text: String, receipt: Receipt) -> Body {
    Body::new(ReceiptBody {
        remaining: Some((Bytes::from(text), receipt)),
    })
}

struct ReceiptBody {
    /// What the connection has not taken yet.
    remaining: Option<(Bytes, Receipt)>,
}

impl hyper::body::Body for ReceiptBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.get_mut().remaining.take().map(|(bytes, receipt)| {
            receipt.delivered();
            Ok(Frame::data(bytes))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining.is_none()
    }

    /// Exact, so that the response has a `Content-Length`.
    fn size_hint(&self) -> SizeHint {
        let length = self.remaining.as_ref().map_or(0, |(bytes, _)| bytes.len());
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
