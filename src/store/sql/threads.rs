//! The threads behind a store: one that writes, and those beside it.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::store::StoreError;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// The thread that owns what writes. It ends, after all that was asked of it, when this is dropped.
pub struct Writer<S> {
    jobs: Option<mpsc::Sender<Job<S>>>,
    thread: Option<JoinHandle<()>>,
}

impl<S: Send + 'static> Writer<S> {
    pub fn start(mut session: S) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel::<Job<S>>();
        let work = move || inbox.into_iter().for_each(|job| job(&mut session));
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(work);
        let thread = thread.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` on the thread.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut S) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Unknown("the store's writer has stopped".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job<S> = Box::new(move |session| drop(answer.send(work(session))));
        self.jobs.as_ref().ok_or_else(stopped)?.send(job).map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

impl<S> Drop for Writer<S> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Connections beside the writer; a query takes one for as long as it runs.
pub struct Readers<C> {
    idle: Arc<Mutex<Vec<C>>>,
    turns: Arc<Semaphore>,
}

impl<C: Send + 'static> Readers<C> {
    pub fn new(connections: Vec<C>) -> Self {
        Self { turns: Arc::new(Semaphore::new(connections.len())), idle: Arc::new(Mutex::new(connections)) }
    }

    /// Runs `query` on one of them.
    pub async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&mut C) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closing = || StoreError::Unavailable("the store is closing".to_owned());
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| closing())?;
        let idle = self.idle.clone();
        let work = move || {
            let mut conn = idle.lock().pop().expect("there are as many connections as turns");
            let result = query(&mut conn);
            idle.lock().push(conn);
            drop(turn);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| closing())?
    }
}
