//! The time between the order to stop and the end: what is under way finishes, connections are not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_http::ResponseHead;
use actix_web::Error;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::web::Data;

use super::state::HttpState;

/// Whether the server is stopping, and how many requests are under way.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stopping: AtomicBool,
    under_way: AtomicUsize,
}

impl Draining {
    /// From now on readiness fails and every answer closes its connection.
    pub fn begin(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether [`Self::begin`] was called.
    pub fn has_begun(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// `Connection: close` while the server is stopping.
    pub(super) fn close_if_stopping(&self, answer: &mut ResponseHead) {
        if self.has_begun() {
            answer.set_connection_type(ConnectionType::Close);
        }
    }

    /// Requests that have no answer yet.
    pub fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::SeqCst)
    }
}

/// Counts a request for as long as it lives, also when its caller hangs up.
struct UnderWay(Arc<Inner>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Middleware: counts requests, and says `Connection: close` while the server is stopping.
pub(super) async fn announce<B>(
    request: ServiceRequest,
    next: impl AsyncFnOnce(ServiceRequest) -> Result<ServiceResponse<B>, Error>,
) -> Result<ServiceResponse<B>, Error> {
    let draining = request.app_data::<Data<HttpState>>().map(|state| state.draining.clone());
    let Some(draining) = draining else { return next(request).await };
    draining.0.under_way.fetch_add(1, Ordering::SeqCst);
    let _counted = UnderWay(Arc::clone(&draining.0));
    let mut response = next(request).await?;
    draining.close_if_stopping(response.response_mut().head_mut());
    Ok(response)
}
