//! billing: a payment is a bank transfer and a database write, each a method with its own span.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use crate::delay::RandomDelays;

struct BankTransaction(Arc<RandomDelays>);

struct DbAccess(Arc<RandomDelays>);

pub(super) fn routes(delays: Arc<RandomDelays>) -> Router {
    let parts = Arc::new((BankTransaction(Arc::clone(&delays)), DbAccess(delays)));
    Router::new()
        .route("/payment", get(payment))
        .with_state(parts)
}

async fn payment(State(parts): State<Arc<(BankTransaction, DbAccess)>>) -> &'static str {
    let (bank, database) = &*parts;
    bank.transfer().await;
    database.save2db().await;
    "Your order has been paid!"
}

impl BankTransaction {
    #[cfg_attr(
        feature = "traced",
        tracing::instrument(
            name = "BankTransaction.transfer",
            skip_all,
            fields(class = "BankTransaction", method = "transfer")
        )
    )]
    async fn transfer(&self) {
        self.0.work().await;
    }
}

impl DbAccess {
    #[cfg_attr(
        feature = "traced",
        tracing::instrument(
            name = "DBAccess.save2db",
            skip_all,
            fields(class = "DBAccess", method = "save2db")
        )
    )]
    async fn save2db(&self) {
        self.0.work().await;
    }
}
