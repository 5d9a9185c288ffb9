//! The reader's end: the rows of COPY statements.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio_postgres::Client;

use super::blocks::{self, Block, Blocks};

/// The rows of COPY statements, one statement after the other. Dropped before all of them have ended, its session is of no more use.
pub(crate) struct Rows<'a> {
    blocks: Arc<Blocks>,
    /// All statements, until they end.
    query: Option<Query<'a>>,
    current: Option<Block>,
    /// Statements whose rows have not all come.
    left: usize,
}

type Query<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;

impl<'a> Rows<'a> {
    pub(super) fn new(blocks: Arc<Blocks>, client: &'a Client, statements: &[&str]) -> Self {
        debug_assert!(!blocks.is_abandoned(), "this session was given up in the middle of a COPY");
        let text = statements.join("; ");
        let query: Query<'a> = Box::pin(async move { client.batch_execute(&text).await });
        Self { blocks, query: Some(query), current: None, left: statements.len() }
    }

    /// The next rows of the current statement, `None` once at its end; what comes then are those of the next statement. One that the server could not
    /// carry out is an error, and nothing comes after it.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch<'_>>, tokio_postgres::Error> {
        if let Some(block) = self.current.take() {
            // The end of the rows may have come with the last of them.
            let at_end = block.is_last && !block.messages().is_empty();
            self.blocks.give_back(block);
            if at_end {
                return Ok(None);
            }
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.current = poll_fn(|cx| poll_block(&self.blocks, &mut self.query, cx)).await?;
        let Some(block) = &self.current else { return Ok(None) };
        self.left -= usize::from(block.is_last);
        if self.left == 0
            && let Some(query) = self.query.take()
        {
            // An error may come behind the last row.
            query.await?;
        }
        let messages = block.messages();
        Ok((!messages.is_empty()).then_some(Batch { loose: &[], messages }))
    }

    /// Whether the rows of every statement came to their end.
    pub(crate) fn is_complete(&self) -> bool {
        self.left == 0
    }
}

fn poll_block(
    blocks: &Blocks,
    query: &mut Option<Query<'_>>,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Block>, tokio_postgres::Error>> {
    loop {
        if let Some(block) = blocks.take(cx) {
            return Poll::Ready(Ok(Some(block)));
        }
        let Some(running) = query else { return Poll::Ready(Ok(None)) };
        let outcome = ready!(running.as_mut().poll(cx));
        *query = None;
        // The last block may have come between the two looks.
        if let Err(error) = outcome {
            return Poll::Ready(Err(error));
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        if self.query.is_some() {
            self.blocks.abandon();
        }
    }
}

/// Rows that came together, in order, each with its newline.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    /// Rows of a message that is taken apart already: one, or where a server puts several into one message, those that are left.
    loose: &'a [u8],
    messages: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Bytes that came, a few more than the rows have.
    pub(crate) fn bytes(&self) -> usize {
        self.loose.len() + self.messages.len()
    }

    fn next_loose(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\n', self.loose).map_or(self.loose.len(), |newline| newline + 1);
        let (row, rest) = self.loose.split_at(end);
        self.loose = rest;
        row
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.loose.is_empty() {
            (self.loose, self.messages) = blocks::split_first(self.messages)?;
        }
        Some(self.next_loose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_with_several_rows_is_taken_apart() {
        let message = |body: &[u8]| [&[b'd'][..], &(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let messages = [message(b"a\n"), message(b"b\nc\n"), message(b"\n")].concat();
        let rows: Vec<&[u8]> = Batch { loose: &[], messages: &messages }.collect();
        assert_eq!(rows, [b"a\n", b"b\n", b"c\n", &b"\n"[..]]);
    }
}
