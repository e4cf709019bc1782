//! The calls of the replay, each repeated with the same content while the mesh cannot answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use tokio::time::Instant;
use tonic::{Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;
use tourmesh::{
    booking::v1::{
        Booking, BookingState, CancelBookingRequest, ConfirmBookingRequest, Contact, CreateBookingRequest,
        GetBookingRequest, GuestName, JoinWaitingListRequest, LeaveWaitingListRequest, ListBookingsRequest,
        ListWaitingEntriesRequest, RedeemVoucherRequest, RescheduleBookingRequest, UpdateBookingRequest, WaitingEntry,
        booking_service_client::BookingServiceClient,
    },
    common::v1::UnitQuantity,
};

use crate::{
    bench::ground::{Token, signed},
    visitor::is_passing,
};

/// How long a call is repeated while the mesh cannot answer, and how long a payment may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// What went wrong with a call: a refusal with its reason, or anything else.
#[derive(Debug)]
pub struct Refused {
    /// Such as DEPARTURE_SOLD_OUT; empty when the answer has none.
    pub reason: String,
    status: Status,
}

impl From<Refused> for anyhow::Error {
    fn from(refused: Refused) -> Self {
        let Refused { reason, status } = refused;
        anyhow!("{:?} {reason}: {}", status.code(), status.message())
    }
}

/// A guest's answer from the mesh.
pub type Answer<T> = Result<T, Refused>;

/// Makes a call, again and again while the mesh cannot answer. The request_id makes that harmless.
pub async fn patient<T, F>(send: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let begun = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match send().await {
            Err(status) if is_passing(&status) && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
            answer => return answer.map(Response::into_inner),
        }
    }
}

/// Makes the calls.
pub struct Caller {
    clients: Vec<BookingServiceClient<Channel>>,
    calls: AtomicU64,
}

/// A signature for a call: by whom, and the name under which it is repeated.
#[derive(Clone, Copy)]
pub struct By<'a> {
    /// Who calls.
    pub token: &'a Token,
    /// Makes repeats harmless.
    pub request_id: &'a str,
}

impl Caller {
    /// Over these connections.
    pub fn new(clients: Vec<BookingServiceClient<Channel>>) -> Self {
        Self { clients, calls: AtomicU64::new(0) }
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn call<M: Clone, T, F>(
        &self,
        token: &Token,
        message: M,
        send: impl Fn(BookingServiceClient<Channel>, Request<M>) -> F,
    ) -> Answer<T>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let sent = patient(|| {
            let turn = self.calls.fetch_add(1, Ordering::Relaxed);
            let client = usize::try_from(turn).unwrap_or_default() % self.clients.len();
            let mut request = signed(token, message.clone());
            request.set_timeout(Duration::from_secs(20));
            send(self.clients[client].clone(), request)
        });
        sent.await.map_err(|status| {
            let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
            Refused { reason, status }
        })
    }

    /// CreateBooking.
    pub async fn create(
        &self,
        by: By<'_>,
        departure: &str,
        units: Vec<UnitQuantity>,
        contact: Contact,
    ) -> Answer<Booking> {
        let request = CreateBookingRequest {
            promo_code: String::new(),
            request_id: by.request_id.to_owned(),
            departure_id: departure.to_owned(),
            units,
            contact: Some(contact),
        };
        let sent = self.call(by.token, request, |mut c, r| async move { c.create_booking(r).await });
        Ok(sent.await?.booking.unwrap_or_default())
    }

    /// ConfirmBooking, with a card of the sandbox; the booking as it is then.
    pub async fn pay(&self, by: By<'_>, booking: &str) -> Answer<Booking> {
        let request = ConfirmBookingRequest {
            request_id: by.request_id.to_owned(),
            booking_id: booking.to_owned(),
            payment_method: "card_ok".to_owned(),
            return_url: String::new(),
        };
        let sent = self.call(by.token, request, |mut c, r| async move { c.confirm_booking(r).await });
        Ok(sent.await?.booking.unwrap_or_default())
    }

    /// The booking with its vouchers: as it was answered when it was paid, or, where it was not confirmed then, as
    /// GetBooking has it once the news of its payment has arrived.
    pub async fn confirmed(&self, token: &Token, paid: &Booking) -> anyhow::Result<Booking> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(2);
        let mut booking = paid.clone();
        loop {
            match booking.state() {
                BookingState::Confirmed => return Ok(booking),
                BookingState::OnHold if begun.elapsed() < PATIENCE => {}
                other => anyhow::bail!("{} is {}", booking.id, other.as_str_name()),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            let request = GetBookingRequest { booking_id: booking.id.clone() };
            let answer = self.call(token, request, |mut c, r| async move { c.get_booking(r).await }).await?;
            booking = answer.booking.context("no booking came")?;
        }
    }

    /// UpdateBooking: the name of a guest.
    pub async fn rename(&self, by: By<'_>, booking: &Booking, name: String) -> Answer<()> {
        let item_id = booking.items.first().map(|item| item.id.clone()).unwrap_or_default();
        let request = UpdateBookingRequest {
            request_id: by.request_id.to_owned(),
            booking_id: booking.id.clone(),
            contact: None,
            guests: vec![GuestName { item_id, guest_name: name }],
            update_mask: Some(prost_types::FieldMask { paths: vec!["guests".to_owned()] }),
        };
        self.call(by.token, request, |mut c, r| async move { c.update_booking(r).await }).await.map(drop)
    }

    /// RescheduleBooking.
    pub async fn reschedule(&self, by: By<'_>, booking: &str, departure: &str) -> Answer<()> {
        let request = RescheduleBookingRequest {
            request_id: by.request_id.to_owned(),
            booking_id: booking.to_owned(),
            departure_id: departure.to_owned(),
            // All of its departures cost the same.
            ..RescheduleBookingRequest::default()
        };
        self.call(by.token, request, |mut c, r| async move { c.reschedule_booking(r).await }).await.map(drop)
    }

    /// CancelBooking.
    pub async fn cancel(&self, by: By<'_>, booking: &str) -> Answer<()> {
        let request = CancelBookingRequest {
            request_id: by.request_id.to_owned(),
            booking_id: booking.to_owned(),
            reason: "Canceled".to_owned(),
            item_ids: Vec::new(),
        };
        self.call(by.token, request, |mut c, r| async move { c.cancel_booking(r).await }).await.map(drop)
    }

    /// RedeemVoucher.
    pub async fn redeem(&self, by: By<'_>, voucher: &str) -> Answer<()> {
        let request = RedeemVoucherRequest { request_id: by.request_id.to_owned(), voucher_code: voucher.to_owned() };
        self.call(by.token, request, |mut c, r| async move { c.redeem_voucher(r).await }).await.map(drop)
    }

    /// JoinWaitingList; the entry's id.
    pub async fn join(
        &self,
        by: By<'_>,
        departure: &str,
        units: Vec<UnitQuantity>,
        contact: Contact,
    ) -> Answer<String> {
        let request = JoinWaitingListRequest {
            request_id: by.request_id.to_owned(),
            departure_id: departure.to_owned(),
            units,
            contact: Some(contact),
            ..JoinWaitingListRequest::default()
        };
        let sent = self.call(by.token, request, |mut c, r| async move { c.join_waiting_list(r).await });
        Ok(sent.await?.entry.unwrap_or_default().id)
    }

    /// LeaveWaitingList.
    pub async fn leave(&self, by: By<'_>, entry: &str) -> Answer<()> {
        let request = LeaveWaitingListRequest { request_id: by.request_id.to_owned(), entry_id: entry.to_owned() };
        self.call(by.token, request, |mut c, r| async move { c.leave_waiting_list(r).await }).await.map(drop)
    }

    /// ListWaitingEntries, until the entry is found.
    pub async fn waiting(&self, token: &Token, departure: &str, entry: &str) -> anyhow::Result<WaitingEntry> {
        let mut request =
            ListWaitingEntriesRequest { departure_id: departure.to_owned(), page_size: 100, page_token: String::new() };
        loop {
            let send = |mut c: BookingServiceClient<Channel>, r| async move { c.list_waiting_entries(r).await };
            let page = self.call(token, request.clone(), send).await?;
            if let Some(found) = page.entries.into_iter().find(|e| e.id == entry) {
                return Ok(found);
            }
            anyhow::ensure!(!page.next_page_token.is_empty(), "{entry} is not in the line of {departure}");
            request.page_token = page.next_page_token;
        }
    }

    /// All bookings of a departure, as the mesh has them.
    pub async fn bookings(&self, token: &Token, departure: &str) -> anyhow::Result<Vec<Booking>> {
        let mut request =
            ListBookingsRequest { departure_id: departure.to_owned(), page_size: 100, ..Default::default() };
        let mut all = Vec::new();
        loop {
            let send = |mut c: BookingServiceClient<Channel>, r| async move { c.list_bookings(r).await };
            let page = self.call(token, request.clone(), send).await?;
            all.extend(page.bookings);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }
}
