//! Creating small files: the put that decides a race, the put under a name of one's own, and the put without a condition.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::{Attributes, PutMode, PutOptions, PutPayload};

use super::error::Operation;
use super::{FIRST_PAUSE, LONGEST_PAUSE, Store, StoreError};
use crate::model::Retry;

/// Where a file gets its name first and its content then (see [`super::local`]), others wait so long for the content.
const BEING_WRITTEN: Duration = Duration::from_secs(5);

/// What else lies under a name, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Others may put a file there at the same time, and one of them must win.
    Shared,
    /// Nobody else uses the name. Nothing hangs on the condition, which keeps a wrong name from overwriting.
    Own,
}

impl Store {
    /// Creates a file that must not exist yet; on success it is durable.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`] when it exists. On S3 that, and a time-out, can also mean that an earlier try of
    /// this very call arrived and only its answer was lost: a caller that must know reads the file back and compares.
    /// [`StoreError::NoConditionalPut`] from a server that has no such put.
    pub async fn put_new(&self, path: &str, content: Bytes) -> Result<(), StoreError> {
        self.put(path, content, Name::Shared).await
    }

    /// Like [`put_new`](Self::put_new) for a name that nobody else uses, which needs no create-only put: with a server that
    /// has none the file is put without.
    ///
    /// # Errors
    /// As [`put_new`](Self::put_new), except [`StoreError::NoConditionalPut`].
    pub async fn put_own(&self, path: &str, content: Bytes) -> Result<(), StoreError> {
        self.put(path, content, Name::Own).await
    }

    async fn put(&self, path: &str, content: Bytes, name: Name) -> Result<(), StoreError> {
        let payload = PutPayload::from(content);
        let put = || self.create(path, payload.clone(), Attributes::new(), name);
        self.until_done(put).await
    }

    /// Like [`put_new`](Self::put_new), and settles what a lost answer leaves open: the put is repeated and the file
    /// read back until it is known what is there. `None`: this content. `Some`: another one, which came first. The
    /// content must be unique to the caller, or it would take another's file for its own.
    ///
    /// # Errors
    /// Whatever the store says. After [`Retry::Transient`] ones the file may be there all the same.
    pub async fn put_settled(&self, path: &str, content: Bytes) -> Result<Option<Bytes>, StoreError> {
        self.settle(path, content.into(), Attributes::new(), Name::Shared).await
    }

    pub(super) async fn settle(
        &self,
        path: &str,
        content: PutPayload,
        carry: Attributes,
        name: Name,
    ) -> Result<Option<Bytes>, StoreError> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.create(path, content.clone(), carry.clone(), name).await else { return Ok(None) };
            if !error.is_already_exists() && error.retry() == Retry::Permanent {
                return Err(error);
            }
            let being_written = error.is_already_exists() && begun.elapsed() < BEING_WRITTEN;
            match self.get(path).await {
                Ok(stored) if being_written && stored.is_empty() && content.content_length() > 0 => {}
                Ok(stored) => return Ok((!is_same(&content, &stored)).then_some(stored)),
                // Nothing arrived: the first error is the news.
                Err(missing) if missing.is_not_found() && being_written => {}
                Err(missing) if missing.is_not_found() && begun.elapsed() < self.inner.retry_for => {}
                Err(missing) if missing.is_not_found() => return Err(error),
                // It stays open what is there.
                Err(unread) => return Err(unread),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// For a store [`without_conditions`](Self::without_conditions): looks that nothing is there, puts, waits, and reads
    /// back what is there then. Of several writers the last one wins and all see it, as long as none of them stops
    /// between its look and its put for longer than the others wait.
    ///
    /// # Errors
    /// Whatever the store says.
    pub async fn put_read_back(&self, path: &str, content: Bytes, wait: Duration) -> Result<Bytes, StoreError> {
        match self.get(path).await {
            Ok(stored) => return Ok(stored),
            Err(missing) if missing.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if let Some(other) = self.put_settled(path, content).await? {
            return Ok(other);
        }
        tokio::time::sleep(wait).await;
        self.get(path).await
    }

    /// One put. Of an answer that refuses the request as such it is found out whether it is the condition that is refused:
    /// servers word that in many ways (501 NotImplemented, 400 InvalidArgument, ...).
    async fn create(&self, path: &str, content: PutPayload, carry: Attributes, name: Name) -> Result<(), StoreError> {
        let refuses = &self.inner.refuses_conditions;
        let free = self.weak || name == Name::Own && refuses.load(Ordering::Relaxed);
        let mode = if free { PutMode::Overwrite } else { PutMode::Create };
        let Err(error) = self.put_once(path, content.clone(), carry.clone(), mode).await else { return Ok(()) };
        if free || self.has_conditions_of_its_own() || !error.may_be_the_condition() {
            return Err(error);
        }
        match name {
            Name::Own => {
                // When the same put fails without the condition too, the answer to it is the one to tell.
                self.put_once(path, content, carry, PutMode::Overwrite).await?;
                refuses.store(true, Ordering::Relaxed);
                Ok(())
            }
            Name::Shared if refuses.load(Ordering::Relaxed) || self.probe_without_condition().await => {
                refuses.store(true, Ordering::Relaxed);
                Err(error.about_the_condition())
            }
            Name::Shared => Err(error),
        }
    }

    pub(super) async fn put_once(
        &self,
        path: &str,
        content: PutPayload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<(), StoreError> {
        let (at, options) = (self.parse(path)?, PutOptions { mode, attributes, ..PutOptions::default() });
        let put = self.inner.objects.put_opts(&at, content, options).await;
        put.map(drop).map_err(|e| self.failed(e, Operation::Create, path))
    }
}

fn is_same(content: &PutPayload, stored: &[u8]) -> bool {
    let mut rest = Some(stored);
    for piece in content {
        rest = rest.and_then(|rest| rest.strip_prefix(piece.as_ref()));
    }
    rest.is_some_and(<[u8]>::is_empty)
}
