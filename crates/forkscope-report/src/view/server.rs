//! The server: one thread for sockets, a few for files, limits on everything
//! that the other side decides.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{Response, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::address::Token;
use super::guard::Guard;
use super::params::Params;
use super::respond::{Fault, answer, document, refusal};
use super::run::RunView;
use super::{assets, awareness, branches, index, reversions, rollout};
use crate::error::ReportError;

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Questions about files at a time.
const FILE_THREADS: usize = 4;
/// Bytes of a request line with its headers.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// Time that a request may take to arrive, and to be answered.
const ARRIVAL: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(60);
/// How often the server looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// A run on a port of this machine.
pub struct Viewer {
    listener: TcpListener,
    guard: Guard,
    url: String,
    run: Arc<RunView>,
}

impl Viewer {
    /// Opens a run and takes a port of the loopback interface, any free one
    /// for 0. Nothing is answered before [`Viewer::serve`].
    pub fn open(run: &Path, port: u16) -> Result<Self, ReportError> {
        let run = Arc::new(RunView::open(run)?);
        let failed = |source| ReportError::Listen { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let token = Token::random()?;
        let url = format!("http://127.0.0.1:{port}/{}/", token.as_str());
        let guard = Guard::new(token, port);
        Ok(Self {
            listener,
            guard,
            url,
            run,
        })
    }

    /// The address, which holds the token.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers until `stop` says so.
    pub fn serve(self, stop: impl Fn() -> bool) -> Result<(), ReportError> {
        let failed = |source| ReportError::Listen { port: 0, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(FILE_THREADS)
            .build()
            .map_err(failed)?;
        let run = Arc::clone(&self.run);
        let outcome = runtime.block_on(self.accept(stop)).map_err(failed);
        run.index.stop();
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    }

    async fn accept(self, stop: impl Fn() -> bool) -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        // The footers are read while the browser asks for the page.
        let tables = Arc::clone(&self.run.tables);
        tokio::task::spawn_blocking(move || {
            let _ = (tables.tokens().is_ok(), tables.rollouts().is_ok());
        });
        let app = router(self.run, self.guard);
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        while !stop() {
            let Ok(accepted) = tokio::time::timeout(LOOK, listener.accept()).await else {
                continue;
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, or a peer that has gone: the next may do.
                tokio::time::sleep(LOOK).await;
                continue;
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
                continue;
            };
            let service = TowerToHyperService::new(app.clone());
            tokio::spawn(async move {
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(ARRIVAL)
                    .max_buf_size(HEAD_BYTES)
                    .max_headers(HEADERS)
                    .serve_connection(TokioIo::new(stream), service);
                // Whatever ends a connection is the other side's business.
                let _ = served.await;
                drop(place);
            });
        }
        Ok(())
    }
}

type Run = State<Arc<RunView>>;
type Asked = Query<Vec<(String, String)>>;

fn router(run: Arc<RunView>, guard: Guard) -> Router {
    let mut router = Router::new();
    for asset in &assets::ALL {
        let path = format!("/{{token}}/{}", asset.name);
        router = router.route(
            &path,
            get(|| async { answer(StatusCode::OK, asset.kind, (asset.text)()) }),
        );
    }
    router
        .route(
            "/{token}/api/run",
            get(|State(run): Run| work(move || Ok(run.overview()))),
        )
        .route(
            "/{token}/api/figures",
            get(|State(run): Run| work(move || Ok(run.figures()))),
        )
        .route(
            "/{token}/api/progress",
            get(|State(run): Run| work(move || Ok(run.progress()))),
        )
        .route("/{token}/api/rollouts", get(rollouts))
        .route("/{token}/api/rollout", get(one_rollout))
        .route("/{token}/api/branches", get(branch_list))
        .route("/{token}/api/branch", get(one_branch))
        .route(
            "/{token}/api/curves",
            get(|State(run): Run| work(move || run.reversions.curves(&run.tables))),
        )
        .route("/{token}/api/links", get(links))
        .route("/{token}/api/reversion", get(one_reversion))
        .route(
            "/{token}/api/awareness",
            get(|State(run): Run| work(move || Ok(awareness::page(&run.awareness_rows()?)))),
        )
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "there is no such page") })
        .with_state(run)
        .layer(from_fn_with_state(guard, guarded))
}

/// Lets nobody through whom the guard refuses, and no answer take for ever.
async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response<Body> {
    if let Err(no) = guard.check(request.method(), request.uri(), request.headers()) {
        return refusal(no.status, no.said);
    }
    match tokio::time::timeout(ANSWER, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the answer takes too long; ask for less",
        ),
    }
}

/// Answers on a thread that may wait for the disk.
async fn work(f: impl FnOnce() -> Result<Value, Fault> + Send + 'static) -> Response<Body> {
    match tokio::task::spawn_blocking(f).await {
        Ok(Ok(value)) => document(&value),
        Ok(Err(fault)) => fault.response(),
        Err(_) => refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "this is a fault of forkscope; please report it",
        ),
    }
}

async fn rollouts(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || run.rollouts(&Params::new(asked, &index::PARAMETERS)?)).await
}

async fn one_rollout(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || rollout::page(&run, &Params::new(asked, &rollout::PARAMETERS)?)).await
}

async fn branch_list(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || {
        let params = Params::new(asked, &branches::PARAMETERS)?;
        run.branches.page(&run.tables, &params)
    })
    .await
}

async fn one_branch(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || run.branches.detail(&run.tables, row(asked)?)).await
}

async fn links(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || {
        let params = Params::new(asked, &reversions::PARAMETERS)?;
        run.reversions.links(&run.tables, &params)
    })
    .await
}

async fn one_reversion(State(run): Run, Query(asked): Asked) -> Response<Body> {
    work(move || run.reversions.detail(&run.tables, row(asked)?)).await
}

/// The row that is asked for.
fn row(asked: Vec<(String, String)>) -> Result<u64, Fault> {
    Params::new(asked, &["row"])?.number("row", 0, u64::from(u32::MAX))
}
