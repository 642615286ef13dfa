//! Connections: accepted, served, and at the end let finish.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::guard::Peer;

/// A client has this long to say what it wants.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
const MOST_CONNECTIONS: usize = 4096;

/// Serves until `stop` comes, then until all answers are finished.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        if let Ok((stream, place)) = accepted {
            let connection = connection(stream, router.clone());
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // What goes wrong on a connection is its client's affair.
                let _ = connection.await;
                drop(place);
            });
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

type Place = tokio::sync::OwnedSemaphorePermit;

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, Place)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    match listener.accept().await {
        Ok((stream, _)) => Ok((stream, place)),
        Err(error) => {
            // Out of file descriptors, for one: some will be free again.
            tokio::time::sleep(Duration::from_millis(50)).await;
            Err(error)
        }
    }
}

type Service = TowerToHyperService<Router>;

fn connection(stream: TcpStream, router: Router) -> http1::Connection<TokioIo<TcpStream>, Service> {
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    // Tokens are small and must go at once.
    let _ = stream.set_nodelay(true);
    let router = router.layer(axum::middleware::from_fn(move |mut request: Request, next: axum::middleware::Next| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        next.run(request)
    }));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
}
