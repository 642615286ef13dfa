//! A server from beginning to end.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tcrt::Model;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::api::router;
use crate::app::{App, Options};
use crate::engine;
use crate::listen::serve;
use crate::metrics::HttpMetrics;
use crate::served::Served;

/// Threads for HTTP: the work is the engine's.
const HTTP_THREADS: usize = 2;

/// Models with their engines, ready to be served.
pub struct Server {
    app: Arc<App>,
}

/// A server on a thread of its own.
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts an engine for each of these models; there must be one, and their names must differ.
    pub fn new(models: Vec<(String, Arc<Model>)>, engine: &engine::Options, options: Options) -> tcrt::Result<Server> {
        if models.is_empty() {
            return Err(tcrt::Error::invalid_argument("there is no model to serve"));
        }
        let turn = Arc::new(Mutex::new(()));
        let mut served: Vec<Arc<Served>> = Vec::new();
        for (id, model) in models {
            if served.iter().any(|other| other.id == id) {
                return Err(tcrt::Error::invalid_argument(format!("two models have the name {id:?}")));
            }
            served.push(Arc::new(Served::new(id, model, engine, Arc::clone(&turn))?));
        }
        Ok(Server { app: Arc::new(App { models: served, options, http: HttpMetrics::default() }) })
    }

    /// For each model its name, the context of a sequence, and the most memory it will use.
    pub fn models(&self) -> impl Iterator<Item = (&str, usize, u64)> {
        self.app.models.iter().map(|served| (served.id.as_str(), served.context, served.engine.max_bytes()))
    }

    /// Serves until `stop` comes, and then until all answers are finished.
    pub fn run(self, listener: TcpListener, stop: impl Future<Output = ()>) -> io::Result<()> {
        let runtime = runtime()?;
        listener.set_nonblocking(true)?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            serve(listener, router(self.app), stop).await;
            Ok(())
        })
    }

    /// As `run`, on a thread of its own.
    pub fn spawn(self, listener: TcpListener) -> io::Result<Running> {
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("tcrt-http".into()).spawn(move || {
            // Dropping the sender is a wish to stop, too.
            let stopped = async { stopped.await.unwrap_or_default() };
            if let Err(error) = self.run(listener, stopped) {
                eprintln!("tcrt: the server ended: {error}");
            }
        })?;
        Ok(Running { address, stop: Some(stop), thread: Some(thread) })
    }
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, finishes those there are, and returns when they are.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended on its own.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves until SIGINT or SIGTERM, and then until all answers are finished; a second signal ends the process at once.
pub fn serve_until_interrupted(server: Server, listener: TcpListener, on_stop: impl FnOnce()) -> io::Result<()> {
    server.run(listener, async {
        interrupted().await;
        on_stop();
        tokio::spawn(async {
            interrupted().await;
            std::process::exit(130);
        });
    })
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        // Without handlers the signals end the process.
        _ => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(HTTP_THREADS).thread_name("tcrt-http").enable_io().enable_time().build()
}
