//! Polls an upstream HTTP/1 connection in the task of the exchange that it serves, and between
//! exchanges in a task of its own.
//!
//! hyper's client is a sender of requests and a future that reads and writes. In a task of its own,
//! that future is woken for each request and wakes the task of the exchange for each response,
//! often on another worker. Polled in the task of the exchange, it is woken by the socket only.
//!
//! ```text
//!   attach ──► poll (the task of the exchange, any number of times) ──► detach
//!                                                                         │
//!              end of the connection ◄── background task ◄────────────────┘
//! ```

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Number of times that a connection and its exchange are polled in turns before other tasks run.
const MAX_TURNS: u32 = 8;

/// Drives one connection.
pub(super) struct Http1Driver(Arc<DriverState>);

struct DriverState {
    connection: Mutex<DrivenConnection>,
    owner: Arc<DriverOwner>,
    /// Woken by the socket, by a new request and by the bodies.
    connection_flag: Arc<WakeFlag>,
    connection_waker: Waker,
    /// Woken by the connection, which is polled by the exchange itself.
    exchange_flag: Arc<WakeFlag>,
    exchange_waker: Waker,
}

struct DrivenConnection {
    /// [`None`] once the connection has ended.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether an exchange polls the connection.
    is_attached: bool,
    /// The task that polls it otherwise; [`None`] until that has begun.
    background: Option<Waker>,
}

/// The task that polls the connection.
#[derive(Default)]
struct DriverOwner {
    task: AtomicWaker,
    /// Whether it does so now, and looks at the flags before it sleeps.
    is_polling: AtomicBool,
}

/// Whether a future is to be polled. A wake from within the owner's poll does not schedule its task
/// once more.
struct WakeFlag {
    is_woken: AtomicBool,
    owner: Arc<DriverOwner>,
}

// === impl Http1Driver ===

impl Http1Driver {
    /// Drives a connection in a background task until an exchange attaches itself.
    pub(super) fn spawn(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        let owner = Arc::<DriverOwner>::default();
        // It has to be polled once before anything wakes it.
        let (connection_flag, exchange_flag) =
            (WakeFlag::new(&owner, true), WakeFlag::new(&owner, false));
        let state = Arc::new(DriverState {
            connection: Mutex::new(DrivenConnection {
                future: Some(Box::pin(connection)),
                is_attached: false,
                background: None,
            }),
            owner,
            connection_waker: Waker::from(Arc::clone(&connection_flag)),
            connection_flag,
            exchange_waker: Waker::from(Arc::clone(&exchange_flag)),
            exchange_flag,
        });
        let background = Arc::clone(&state);
        tokio::spawn(std::future::poll_fn(move |context| {
            background.poll_in_background(context)
        }));
        Self(state)
    }

    /// Begins an exchange, which polls the connection from here on.
    pub(super) fn attach(&self) {
        self.0.lock().is_attached = true;
        // Nothing has to be woken before the first poll, which looks at the flags.
        self.0.owner.is_polling.store(true, Ordering::SeqCst);
    }

    /// Polls the connection, and what an exchange waits for from it.
    pub(super) fn poll<T>(
        &self,
        context: &Context<'_>,
        exchange: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.0.poll(&mut self.0.lock(), context.waker(), exchange)
    }

    /// Ends an exchange: the background task polls the connection from here on.
    pub(super) fn detach(&self) {
        let mut connection = self.0.lock();
        if !std::mem::take(&mut connection.is_attached) {
            return;
        }
        // A task that has not begun polls the connection when it does.
        let Some(background) = connection.background.clone() else {
            drop(self.0.owner.task.take());
            return;
        };
        // Polled here once more, which the end of the last body asks for: it costs less than to
        // wake a task.
        if std::thread::panicking() || self.0.poll_alone(&mut connection, &background).is_ready() {
            background.wake();
        }
    }
}

impl Drop for Http1Driver {
    fn drop(&mut self) {
        self.detach();
    }
}

// === impl DriverState ===

impl DriverState {
    fn lock(&self) -> MutexGuard<'_, DrivenConnection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_in_background(&self, context: &Context<'_>) -> Poll<()> {
        // Locked as a whole: an exchange that attaches itself meanwhile would lose its waker.
        let mut connection = self.lock();
        let task = context.waker();
        match &mut connection.background {
            Some(background) => background.clone_from(task),
            background @ None => *background = Some(task.clone()),
        }
        if connection.is_attached {
            return Poll::Pending;
        }
        self.poll_alone(&mut connection, task)
    }

    /// Polls a connection without an exchange; ready once it has ended.
    fn poll_alone(&self, connection: &mut DrivenConnection, task: &Waker) -> Poll<()> {
        let polled = self.poll(connection, task, |_| Poll::Pending);
        if connection.future.is_none() {
            return Poll::Ready(());
        }
        polled
    }

    fn poll<T>(
        &self,
        connection: &mut DrivenConnection,
        task: &Waker,
        mut exchange: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.owner.is_polling.store(true, Ordering::SeqCst);
        self.owner.task.register(task);
        let mut polled = Poll::Pending;
        for _ in 0..MAX_TURNS {
            if self.connection_flag.take() {
                connection.poll(&mut Context::from_waker(&self.connection_waker));
            }
            self.exchange_flag.take();
            polled = exchange(&mut Context::from_waker(&self.exchange_waker));
            if polled.is_ready() || !self.is_woken() {
                break;
            }
        }
        self.owner.is_polling.store(false, Ordering::SeqCst);
        // Looked at after the store: a wake before that has not woken the task. The rest of a
        // finished exchange is done in its next poll, or when it detaches itself.
        if polled.is_pending() && self.is_woken() {
            task.wake_by_ref();
        }
        polled
    }

    fn is_woken(&self) -> bool {
        self.connection_flag.is_set() || self.exchange_flag.is_set()
    }
}

// === impl DrivenConnection ===

impl DrivenConnection {
    fn poll(&mut self, context: &mut Context<'_>) {
        if let Some(future) = &mut self.future
            && future.as_mut().poll(context).is_ready()
        {
            self.future = None;
        }
    }
}

// === impl WakeFlag ===

impl WakeFlag {
    fn new(owner: &Arc<DriverOwner>, is_woken: bool) -> Arc<Self> {
        Arc::new(Self {
            is_woken: AtomicBool::new(is_woken),
            owner: Arc::clone(owner),
        })
    }

    fn is_set(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }

    fn take(&self) -> bool {
        self.is_set() && self.is_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.owner.is_polling.load(Ordering::SeqCst) {
            self.owner.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Counts the wakes of a task.
    #[derive(Default)]
    struct WakeCounter(AtomicUsize);

    impl Wake for WakeCounter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A connection that answers each number with the next one.
    struct EchoConnection {
        driver: Http1Driver,
        requests: mpsc::Sender<u32>,
        answers: mpsc::Receiver<u32>,
        ended: oneshot::Receiver<()>,
    }

    impl EchoConnection {
        fn open() -> Self {
            let (requests, mut received) = mpsc::channel(1);
            let (sender, answers) = mpsc::channel(1);
            let (end, ended) = oneshot::channel();
            let driver = Http1Driver::spawn(async move {
                while let Some(number) = received.recv().await {
                    sender.send(number + 1).await.unwrap();
                }
                end.send(()).unwrap();
            });
            Self {
                driver,
                requests,
                answers,
                ended,
            }
        }

        fn poll(&mut self, counter: &Arc<WakeCounter>) -> Poll<Option<u32>> {
            let waker = Waker::from(Arc::clone(counter));
            let answers = &mut self.answers;
            self.driver.poll(&Context::from_waker(&waker), |context| {
                answers.poll_recv(context)
            })
        }
    }

    #[tokio::test]
    async fn exchange_is_answered_without_another_wake() {
        let mut echo = EchoConnection::open();
        let counter = Arc::<WakeCounter>::default();
        for number in 0..3 {
            echo.driver.attach();
            echo.requests.try_send(number).unwrap();
            assert_eq!(echo.poll(&counter), Poll::Ready(Some(number + 1)));
            echo.driver.detach();
            // The background task has its turn.
            tokio::task::yield_now().await;
        }
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn task_of_the_exchange_is_woken_between_its_polls() {
        let mut echo = EchoConnection::open();
        let counter = Arc::<WakeCounter>::default();
        tokio::task::yield_now().await;
        echo.driver.attach();
        assert_eq!(echo.poll(&counter), Poll::Pending);
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
        echo.requests.try_send(7).unwrap();
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        assert_eq!(echo.poll(&counter), Poll::Ready(Some(8)));
    }

    #[tokio::test]
    async fn background_task_sees_the_end_after_an_exchange() {
        let mut echo = EchoConnection::open();
        let counter = Arc::<WakeCounter>::default();
        echo.driver.attach();
        assert_eq!(echo.poll(&counter), Poll::Pending);
        echo.driver.detach();
        drop(echo.requests);
        echo.ended.await.unwrap();
        assert_eq!(counter.0.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn dropped_exchange_leaves_its_connection_to_the_background_task() {
        let mut echo = EchoConnection::open();
        echo.driver.attach();
        assert_eq!(echo.poll(&Arc::default()), Poll::Pending);
        let EchoConnection {
            driver,
            requests,
            ended,
            ..
        } = echo;
        drop(driver);
        drop(requests);
        ended.await.unwrap();
    }
}
