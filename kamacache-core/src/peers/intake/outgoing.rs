//! The body of a response: it leaves in pieces, so that it shows whether the
//! other side takes them, and is charged until the transport has let go of it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::Came;
use crate::peers::room::{Large, Place};

/// Bytes of a piece.
const PIECE: usize = 64 << 10;

/// The body of a response, which leaves in pieces.
pub(super) struct Outgoing {
    pub(super) body: Body,
    pub(super) large: Option<Arc<Large>>,
    /// What the request holds, which the reply may be made of.
    pub(super) _came: Came,
    pub(super) goes: Place,
    pub(super) rest: Option<(Arc<Whole>, usize)>,
}

/// What the body gave at once, as long as the transport holds any of it.
pub(super) struct Whole {
    bytes: Bytes,
    place: Place,
    /// 0: it has a place already.
    charged: usize,
    _large: Option<Arc<Large>>,
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.place.give_back(self.charged);
        self.place.taken();
    }
}

/// A part of it.
struct Piece {
    whole: Arc<Whole>,
    from: usize,
    to: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.whole.bytes[self.from..self.to]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.whole.place.moved(self.to - self.from);
    }
}

impl Outgoing {
    fn begin(&mut self, bytes: Bytes) -> Bytes {
        let large = self.large.clone();
        let charged = if large.is_some() { 0 } else { bytes.len() };
        self.goes.charge(charged);
        self.goes.gives();
        let place = self.goes.clone();
        let whole = Whole {
            bytes,
            place,
            charged,
            _large: large,
        };
        self.piece(Arc::new(whole), 0)
    }

    fn piece(&mut self, whole: Arc<Whole>, from: usize) -> Bytes {
        let to = whole.bytes.len().min(from + PIECE);
        self.rest = (to < whole.bytes.len()).then(|| (whole.clone(), to));
        Bytes::from_owner(Piece { whole, from, to })
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if let Some((whole, from)) = this.rest.take() {
            let piece = this.piece(whole, from);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        let frame = frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => Frame::data(bytes),
                Ok(bytes) => Frame::data(this.begin(bytes)),
                Err(trailers) => trailers,
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}
