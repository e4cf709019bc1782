//! The other two services, as far as Booking sees them: scripted, and remembering what they were asked.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tourmesh::{
    catalog::v1::{
        self as catalog,
        catalog_service_server::{CatalogService, CatalogServiceServer},
    },
    payment::v1::{
        self as payment,
        payment_service_server::{PaymentService, PaymentServiceServer},
    },
};
use tourmesh_kit::{ApiError, ErrorReason};
use uuid::Uuid;

#[derive(Clone, Default)]
pub(crate) struct Catalog {
    offers: Arc<Mutex<HashMap<String, catalog::Offer>>>,
    asked: Arc<AtomicUsize>,
}

impl Catalog {
    pub(crate) fn put(&self, offer: catalog::Offer) {
        let id = offer.departure.as_ref().unwrap().id.clone();
        self.offers.lock().unwrap().insert(id, offer);
    }
    pub(crate) fn get(&self, id: &str) -> catalog::Offer {
        self.offers.lock().unwrap()[id].clone()
    }
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl CatalogService for Catalog {
    async fn get_offer(
        &self,
        request: Request<catalog::GetOfferRequest>,
    ) -> Result<Response<catalog::GetOfferResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let offer = self.offers.lock().unwrap().get(&request.get_ref().departure_id).cloned();
        let offer = offer.ok_or_else(|| ApiError::new(ErrorReason::DepartureNotFound, "unknown"))?;
        Ok(Response::new(catalog::GetOfferResponse { offer: Some(offer) }))
    }
    async fn search_tours(
        &self,
        _: Request<catalog::SearchToursRequest>,
    ) -> Result<Response<catalog::SearchToursResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn get_tour(
        &self,
        _: Request<catalog::GetTourRequest>,
    ) -> Result<Response<catalog::GetTourResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_departures(
        &self,
        _: Request<catalog::ListDeparturesRequest>,
    ) -> Result<Response<catalog::ListDeparturesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn quote(&self, _: Request<catalog::QuoteRequest>) -> Result<Response<catalog::QuoteResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

/// Payment as it promises to be: one payment for one request id. `card_declined` is declined, `card_action` wants a
/// second step, `card_slow` waits while the provider is said to hang, `card_later` is captured after the answer, anything
/// else before; the events are the test's to publish.
#[derive(Clone, Default)]
pub(crate) struct Payments {
    asked: Arc<Mutex<Vec<payment::CreatePaymentRequest>>>,
    made: Arc<Mutex<HashMap<String, payment::Payment>>>,
    refunds: Arc<Mutex<Vec<payment::RefundPaymentRequest>>>,
    /// So many refunds fail before one works.
    pub(crate) broken_refunds: Arc<AtomicUsize>,
    /// So many payments are made, but their answers are lost.
    pub(crate) lost_answers: Arc<AtomicUsize>,
    /// The provider of `card_slow` does not answer.
    pub(crate) hangs: Arc<AtomicBool>,
}

fn count_down(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

impl Payments {
    /// Every call of CreatePayment, repeats included.
    pub(crate) fn asked(&self) -> Vec<payment::CreatePaymentRequest> {
        self.asked.lock().unwrap().clone()
    }
    /// What was made, by request id.
    pub(crate) fn made(&self) -> HashMap<String, payment::Payment> {
        self.made.lock().unwrap().clone()
    }
    /// Every call of RefundPayment that worked, repeats included.
    pub(crate) fn refunds(&self) -> Vec<payment::RefundPaymentRequest> {
        self.refunds.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl PaymentService for Payments {
    async fn create_payment(
        &self,
        request: Request<payment::CreatePaymentRequest>,
    ) -> Result<Response<payment::CreatePaymentResponse>, Status> {
        let request = request.into_inner();
        self.asked.lock().unwrap().push(request.clone());
        if request.payment_method == "card_declined" {
            let error = ApiError::new(ErrorReason::PaymentDeclined, "no").with("decline_code", "insufficient_funds");
            return Err(error.into());
        }
        while request.payment_method == "card_slow" && self.hangs.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut made = self.made.lock().unwrap();
        let payment = made.entry(request.request_id.clone()).or_insert_with(|| {
            let action = request.payment_method == "card_action";
            payment::Payment {
                id: format!("pay_{}", Uuid::now_v7().simple()),
                booking_id: request.booking_id.clone(),
                customer_id: request.customer_id.clone(),
                supplier_id: request.supplier_id.clone(),
                purpose: request.purpose.clone(),
                state: if action { payment::PaymentState::RequiresAction } else { payment::PaymentState::Captured }
                    .into(),
                captured: if action { None } else { request.amount.clone() },
                amount: request.amount.clone(),
                next_action_url: if action { "https://bank.example/step".to_owned() } else { String::new() },
                ..payment::Payment::default()
            }
        });
        if count_down(&self.lost_answers) {
            return Err(ApiError::new(ErrorReason::DeadlineExceeded, "the answer got lost").into());
        }
        let mut payment = payment.clone();
        if request.payment_method == "card_later" {
            payment.set_state(payment::PaymentState::Pending);
            payment.captured = None;
        }
        Ok(Response::new(payment::CreatePaymentResponse { payment: Some(payment) }))
    }
    async fn refund_payment(
        &self,
        request: Request<payment::RefundPaymentRequest>,
    ) -> Result<Response<payment::RefundPaymentResponse>, Status> {
        if count_down(&self.broken_refunds) {
            return Err(ApiError::overloaded(Duration::from_millis(1)).into());
        }
        self.refunds.lock().unwrap().push(request.into_inner());
        Ok(Response::new(payment::RefundPaymentResponse::default()))
    }
    async fn capture_payment(
        &self,
        _: Request<payment::CapturePaymentRequest>,
    ) -> Result<Response<payment::CapturePaymentResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn get_payment(
        &self,
        _: Request<payment::GetPaymentRequest>,
    ) -> Result<Response<payment::GetPaymentResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn handle_provider_event(
        &self,
        _: Request<payment::HandleProviderEventRequest>,
    ) -> Result<Response<payment::HandleProviderEventResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn get_payment_form(
        &self,
        _: Request<payment::GetPaymentFormRequest>,
    ) -> Result<Response<payment::GetPaymentFormResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn get_next_step(
        &self,
        _: Request<payment::GetNextStepRequest>,
    ) -> Result<Response<payment::GetNextStepResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_disputes(
        &self,
        _: Request<payment::ListDisputesRequest>,
    ) -> Result<Response<payment::ListDisputesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_failed_refunds(
        &self,
        _: Request<payment::ListFailedRefundsRequest>,
    ) -> Result<Response<payment::ListFailedRefundsResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn retry_refund(
        &self,
        _: Request<payment::RetryRefundRequest>,
    ) -> Result<Response<payment::RetryRefundResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_ledger_entries(
        &self,
        _: Request<payment::ListLedgerEntriesRequest>,
    ) -> Result<Response<payment::ListLedgerEntriesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
    async fn list_balances(
        &self,
        _: Request<payment::ListBalancesRequest>,
    ) -> Result<Response<payment::ListBalancesResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

/// Serves both on one free port.
pub(crate) async fn serve(catalog: Catalog, payments: Payments) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(CatalogServiceServer::new(catalog))
        .add_service(PaymentServiceServer::new(payments))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}
