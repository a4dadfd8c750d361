//! A chain of transforms that call each other directly.

use std::collections::VecDeque;

use weir_protocol::{Failure, TransformId};

use crate::output::Output;
use crate::{Chunk, Emit, Flow, Transform, Watermark};

/// What a transform is given.
enum Given {
    Chunk(u32, Chunk),
    Watermark(Watermark),
}

/// A transform in its place in a chain.
pub(crate) struct Link {
    pub(crate) id: TransformId,
    pub(crate) transform: Box<dyn Transform>,
    /// It has more output to give.
    more: bool,
    /// What came while it had; bounded, since a transform that makes much stops when the ones
    /// after it are not ready.
    held: VecDeque<Given>,
}

impl Link {
    pub(crate) fn new(id: TransformId, transform: Box<dyn Transform>) -> Self {
        Self { id, transform, more: false, held: VecDeque::new() }
    }

    fn pending(&self) -> bool {
        self.more || !self.held.is_empty()
    }

    fn give(&mut self, given: Given, out: &mut dyn Emit) -> Result<(), Failure> {
        if self.pending() {
            self.held.push_back(given);
            return Ok(());
        }
        self.take(given, out)
    }

    fn take(&mut self, given: Given, out: &mut dyn Emit) -> Result<(), Failure> {
        let flow = match given {
            Given::Chunk(input, chunk) => self.transform.process(input, chunk, out)?,
            Given::Watermark(watermark) => self.transform.watermark(watermark, out)?,
        };
        self.more = flow == Flow::More;
        Ok(())
    }

    fn resume(&mut self, out: &mut dyn Emit) -> Result<(), Failure> {
        if self.more {
            self.more = self.transform.resume(out)? == Flow::More;
        }
        while !self.more && out.ready() {
            let Some(given) = self.held.pop_front() else { break };
            self.take(given, out)?;
        }
        Ok(())
    }
}

/// The rest of a chain as the transform before it sees it.
struct Rest<'a> {
    links: &'a mut [Link],
    output: &'a mut Output,
}

impl Rest<'_> {
    fn give(&mut self, given: Given) -> Result<(), Failure> {
        match (self.links.split_first_mut(), given) {
            (Some((link, links)), given) => link.give(given, &mut Rest { links, output: self.output }),
            (None, Given::Chunk(_, chunk)) => self.output.chunk(chunk),
            (None, Given::Watermark(watermark)) => self.output.watermark(watermark),
        }
    }
}

impl Emit for Rest<'_> {
    fn chunk(&mut self, chunk: Chunk) -> Result<(), Failure> {
        self.give(Given::Chunk(0, chunk))
    }

    fn watermark(&mut self, watermark: Watermark) -> Result<(), Failure> {
        self.give(Given::Watermark(watermark))
    }

    fn ready(&self) -> bool {
        self.links.iter().all(|l| !l.pending()) && self.output.ready()
    }
}

/// The transforms of a vertex in one subtask, with what is behind them.
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    pub(crate) output: Output,
}

impl Chain {
    /// Whether some transform has more to give of what it was given.
    pub(crate) fn pending(&self) -> bool {
        self.links.iter().any(Link::pending)
    }

    /// Lets the transforms go on that have more to give, last one first.
    pub(crate) fn resume(&mut self) -> Result<(), Failure> {
        for at in (0..self.links.len()).rev() {
            let (head, tail) = self.links.split_at_mut(at + 1);
            let mut rest = Rest { links: tail, output: &mut self.output };
            if head[at].pending() && rest.ready() {
                head[at].resume(&mut rest)?;
            }
        }
        Ok(())
    }

    pub(crate) fn chunk(&mut self, input: u32, chunk: Chunk) -> Result<(), Failure> {
        self.whole().give(Given::Chunk(input, chunk))
    }

    pub(crate) fn watermark(&mut self, watermark: Watermark) -> Result<(), Failure> {
        self.whole().give(Given::Watermark(watermark))
    }

    fn whole(&mut self) -> Rest<'_> {
        Rest { links: &mut self.links, output: &mut self.output }
    }
}
