//! The service as callers see it: read the request, call the room, write the answer.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use prost::Message as _;
use tonic::{Request, Response, Status};
use tourmesh::{
    booking::v1::{self as pb, booking_service_server::BookingService},
    payment::v1::payment_service_client::PaymentServiceClient,
};
use tourmesh_kit::{
    ApiError, ApiResult, ErrorReason, client::MeshChannel, db::Db, idempotency::RequestKey, lanes::Lanes, mask,
    money::Money, page, shutdown::Shutdown, voucher::VoucherKeys,
};
use uuid::Uuid;

use crate::{
    access::Caller,
    admission::Checkouts,
    availability::{self, Board},
    cancel,
    changes::{Changes, Wish},
    checkin, checkout,
    config::Config,
    convert,
    domain::{
        BookingId, DepartureId, PromoId, TourId, Unit, WaitingId,
        booking::Booking,
        offer::Offer,
        price::{self, Priced},
        promo::Promo,
        waiting::Dates,
    },
    error::BookingError,
    holds::{self, Held, Hold},
    offers::Offers,
    promos::{self, Codes},
    reschedule, store,
    waiting::{self, Target},
};

/// BookingService.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) config: Config,
    pub(crate) db: Db,
    pub(crate) offers: Offers,
    pub(crate) holds: Lanes<holds::Writer>,
    /// Of their own, because a code is locked longer than a departure: who has none does not wait for that.
    pub(crate) promo_holds: Lanes<holds::Writer>,
    pub(crate) codes: Codes,
    pub(crate) checkouts: Checkouts,
    pub(crate) changes: Changes,
    pub(crate) payments: PaymentServiceClient<MeshChannel>,
    pub(crate) board: Board,
    pub(crate) vouchers: VoucherKeys,
    pub(crate) shutdown: Shutdown,
}

/// What is wished for, priced.
type Wished = (Arc<Offer>, Priced, Option<Arc<Promo>>);

impl Api {
    async fn load(&self, id: BookingId) -> ApiResult<Option<Booking>> {
        let mut connection = self.db.pool().acquire().await?;
        store::bookings::load_one(&mut connection, id).await
    }

    async fn load_known(&self, id: BookingId) -> ApiResult<pb::Booking> {
        let booking = self.load(id).await?.ok_or_else(|| ApiError::internal("a booking of ours is gone"))?;
        Ok(convert::booking(&booking))
    }

    async fn hold(&self, caller: &Caller, request: pb::CreateBookingRequest) -> ApiResult<pb::Booking> {
        let departure = DepartureId::of_field("departure_id", &request.departure_id)?;
        let party = convert::party(&request.units)?;
        let contact = convert::contact(request.contact.as_ref())?;
        let customer = caller.customer()?;
        let key = key("CreateBooking", caller, &request.request_id, &request);
        let priced = match self.offers.get(departure).await {
            Ok(Some(offer)) => self.priced(&request.promo_code, offer, &party).await,
            Ok(None) => Err(BookingError::DepartureNotFound.into()),
            Err(error) => Err(error),
        };
        let (offer, priced, promo) = match priced {
            Ok(priced) => priced,
            // What cannot be sold any more may have been sold by this very request before.
            Err(error) => {
                return match Box::pin(holds::made_before(&self.db, customer, &key)).await? {
                    Some(before) => Box::pin(self.load_known(before)).await,
                    None => Err(error),
                };
            }
        };
        let span = tracing::Span::current();
        let hold = Hold { booking: BookingId::new(), customer, key, offer, priced, promo, contact, span };
        let written = match &hold.promo {
            // An option with a limit of its own has one lane for all of its departures: there the limit is exact.
            None if hold.offer.max_open_holds > 0 => self.holds.submit(hold.offer.departure.option.uuid(), hold).await,
            None => self.holds.submit(departure.uuid(), hold).await,
            Some(promo) => self.promo_holds.submit(promo.id.uuid(), hold).await,
        };
        match written {
            Ok(Held::New(booking)) => Ok(*booking),
            Ok(Held::Before(before)) => Box::pin(self.load_known(before)).await,
            Err(error) => {
                if error.reason() == ErrorReason::DepartureNotFound {
                    // The offer says that there is one: the inventory has lost it, and asking again makes it anew.
                    self.offers.forget(departure);
                }
                Err(error)
            }
        }
    }

    /// The price of a party, with the promo code if there is one.
    async fn priced(&self, code: &str, offer: Arc<Offer>, party: &[(Unit, u32)]) -> ApiResult<Wished> {
        // Most bookings have none.
        let promo = match code {
            "" => None,
            code => Box::pin(self.codes.of_text(&self.db, code, &offer)).await?.map(|code| Arc::new(code.promo)),
        };
        let priced = price::price(&offer, party, promo.as_deref())?;
        Ok((offer, priced, promo))
    }

    async fn preview(
        &self,
        caller: &Caller,
        request: pb::PreviewBookingRequest,
    ) -> ApiResult<pb::PreviewBookingResponse> {
        let departure = DepartureId::of_field("departure_id", &request.departure_id)?;
        let party = convert::party(&request.units)?;
        let offer = self.offers.get(departure).await?.ok_or(BookingError::DepartureNotFound)?;
        let code = self.codes.of_text(&self.db, &request.promo_code, &offer).await?;
        let priced = price::price(&offer, &party, code.as_ref().map(|code| &code.promo))?;
        if let Some(code) = code {
            promos::usable(&self.db, &code, caller.user).await?;
        }
        let parts = priced.breakdown(&offer.terms.taxes)?;
        Ok(pb::PreviewBookingResponse {
            total: Some(priced.total.to_wire()),
            taxes: convert::tax_lines(&offer.terms.taxes, &parts.taxes),
            net: Some(parts.net.to_wire()),
            discount: Some(parts.discount).filter(|off| off.is_positive()).map(Money::to_wire),
            seats: convert::wire_int(priced.seats),
        })
    }

    async fn list(&self, caller: &Caller, request: pb::ListBookingsRequest) -> ApiResult<pb::ListBookingsResponse> {
        let whose = caller.whose()?;
        let departure = match request.departure_id.as_str() {
            "" => None,
            id => Some(DepartureId::of_field("departure_id", id)?),
        };
        let states = convert::states(&request.states)?;
        let filters = pb::ListBookingsRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = [b"ListBookings:", caller.scope.as_bytes(), b":", &filters.encode_to_vec()].concat();
        let before: Option<Uuid> = page::read(&request.page_token, &filters)?;
        let size = page::size(request.page_size, 20, 100);
        // One more than the page shows says whether there is another page.
        let most = u64::from(size) + 1;
        let before = before.map(BookingId::from_uuid);
        let mut ids = store::bookings::list(&self.db.orm(), whose, departure, &states, before, most).await?;
        let shown = usize::try_from(size).map_err(ApiError::internal)?;
        let next_page_token = match ids.get(shown.saturating_sub(1)) {
            Some(last) if ids.len() > shown => page::token(&last.uuid(), &filters),
            _ => String::new(),
        };
        ids.truncate(shown);
        let mut connection = self.db.pool().acquire().await?;
        let loaded = store::bookings::load(&mut connection, &ids).await?;
        let bookings = ids.iter().filter_map(|id| loaded.get(id)).map(convert::booking).collect();
        Ok(pb::ListBookingsResponse { bookings, next_page_token })
    }
}

impl Api {
    async fn list_waiting(
        &self,
        caller: &Caller,
        request: pb::ListWaitingEntriesRequest,
    ) -> ApiResult<pb::ListWaitingEntriesResponse> {
        let whose = caller.whose()?;
        let departure = match request.departure_id.as_str() {
            "" => None,
            id => Some(DepartureId::of_field("departure_id", id)?),
        };
        let filters = format!("ListWaitingEntries:{}:{}", caller.scope, request.departure_id);
        let after: i64 = page::read(&request.page_token, filters.as_bytes())?.unwrap_or_default();
        let size = page::size(request.page_size, 20, 100);
        let mut connection = self.db.pool().acquire().await?;
        let most = i64::from(size) + 1;
        let mut entries = store::waiting::list(&mut connection, whose, departure, after, most).await?;
        let shown = usize::try_from(size).map_err(ApiError::internal)?;
        let next_page_token = match entries.get(shown.saturating_sub(1)) {
            Some((place, _)) if entries.len() > shown => page::token(place, filters.as_bytes()),
            _ => String::new(),
        };
        entries.truncate(shown);
        let entries = entries.iter().map(|(_, entry)| convert::entry(entry)).collect();
        Ok(pb::ListWaitingEntriesResponse { entries, next_page_token })
    }
}

/// The key of a request: whatever shapes its effect, who asks included.
fn key(method: &str, caller: &Caller, request_id: &str, request: &impl prost::Message) -> RequestKey {
    RequestKey::of(request_id, &format!("{method}:{}", caller.scope), request)
}

#[tonic::async_trait]
impl BookingService for Api {
    async fn check_availability(
        &self,
        request: Request<pb::CheckAvailabilityRequest>,
    ) -> Result<Response<pb::CheckAvailabilityResponse>, Status> {
        let ids = convert::departures(&request.into_inner().departure_ids)?;
        let availabilities = availability::check(&self.db, &self.offers, &ids).await?;
        Ok(Response::new(pb::CheckAvailabilityResponse { availabilities }))
    }

    type WatchDepartureStream = Pin<Box<dyn Stream<Item = Result<pb::WatchDepartureResponse, Status>> + Send>>;

    async fn watch_departure(
        &self,
        request: Request<pb::WatchDepartureRequest>,
    ) -> Result<Response<Self::WatchDepartureStream>, Status> {
        let departure = DepartureId::of_field("departure_id", &request.into_inner().departure_id)?;
        let stream = self.board.watch(&self.db, &self.offers, departure, self.shutdown.clone()).await?;
        Ok(Response::new(Box::pin(stream)))
    }

    async fn create_booking(
        &self,
        request: Request<pb::CreateBookingRequest>,
    ) -> Result<Response<pb::CreateBookingResponse>, Status> {
        let holding = self.checkouts.holding();
        let caller = Caller::of(&request)?;
        let booking = self.hold(&caller, request.into_inner()).await?;
        holding.held(convert::foreign(&booking.id)?);
        Ok(Response::new(pb::CreateBookingResponse { booking: Some(booking) }))
    }

    async fn preview_booking(
        &self,
        request: Request<pb::PreviewBookingRequest>,
    ) -> Result<Response<pb::PreviewBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.preview(&caller, request.into_inner()).await?))
    }

    async fn create_promo_code(
        &self,
        request: Request<pb::CreatePromoCodeRequest>,
    ) -> Result<Response<pb::CreatePromoCodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = key("CreatePromoCode", &caller, &request.request_id, &request);
        let code = promos::create(&self.db, &self.codes, caller, key, request.promo_code).await?;
        Ok(Response::new(pb::CreatePromoCodeResponse { promo_code: Some(convert::promo::promo_code(&code)) }))
    }

    async fn list_promo_codes(
        &self,
        request: Request<pb::ListPromoCodesRequest>,
    ) -> Result<Response<pb::ListPromoCodesResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(promos::list(&self.db, &caller, request.get_ref()).await?))
    }

    async fn end_promo_code(
        &self,
        request: Request<pb::EndPromoCodeRequest>,
    ) -> Result<Response<pb::EndPromoCodeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = PromoId::of_field("promo_code_id", &request.promo_code_id)?;
        let key = key("EndPromoCode", &caller, &request.request_id, &request);
        let code = promos::end(&self.db, &self.codes, caller, key, id).await?;
        Ok(Response::new(pb::EndPromoCodeResponse { promo_code: Some(convert::promo::promo_code(&code)) }))
    }

    async fn extend_hold(
        &self,
        request: Request<pb::ExtendHoldRequest>,
    ) -> Result<Response<pb::ExtendHoldResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let key = key("ExtendHold", &caller, &request.request_id, &request);
        let done = self.changes.ask(caller, key, Some(id), Wish::Extend(self.config.hold_limit)).await?;
        Ok(Response::new(pb::ExtendHoldResponse { booking: Some(convert::booking(&done.booking)) }))
    }

    async fn confirm_booking(
        &self,
        request: Request<pb::ConfirmBookingRequest>,
    ) -> Result<Response<pb::ConfirmBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let key = key("ConfirmBooking", &caller, &request.request_id, &request);
        let checkout = self.checkouts.begin(id)?;
        let answer = checkout::confirm(&self.changes, &self.payments, caller, key, checkout, request).await?;
        Ok(Response::new(answer))
    }

    async fn update_booking(
        &self,
        request: Request<pb::UpdateBookingRequest>,
    ) -> Result<Response<pb::UpdateBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let fields = mask::fields(request.update_mask.as_ref(), &["contact", "guests"])?;
        let contact = fields.contains(&"contact").then(|| convert::contact(request.contact.as_ref())).transpose()?;
        let names = if fields.contains(&"guests") { convert::names(&request.guests)? } else { Vec::new() };
        let key = key("UpdateBooking", &caller, &request.request_id, &request);
        let done = self.changes.ask(caller, key, Some(id), Wish::Update { contact, names }).await?;
        Ok(Response::new(pb::UpdateBookingResponse { booking: Some(convert::booking(&done.booking)) }))
    }

    async fn preview_cancellation(
        &self,
        request: Request<pb::PreviewCancellationRequest>,
    ) -> Result<Response<pb::PreviewCancellationResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let guests = convert::guests(&request.item_ids)?;
        let (refund_percent, refund) = cancel::preview(&self.db, &caller, id, &guests).await?;
        Ok(Response::new(pb::PreviewCancellationResponse { refund: Some(refund.to_wire()), refund_percent }))
    }

    async fn cancel_booking(
        &self,
        request: Request<pb::CancelBookingRequest>,
    ) -> Result<Response<pb::CancelBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let guests = convert::guests(&request.item_ids)?;
        let key = key("CancelBooking", &caller, &request.request_id, &request);
        let done = self.changes.ask(caller, key, Some(id), Wish::Cancel(guests)).await?;
        Ok(Response::new(pb::CancelBookingResponse { booking: Some(convert::booking(&done.booking)) }))
    }

    async fn preview_reschedule(
        &self,
        request: Request<pb::PreviewRescheduleRequest>,
    ) -> Result<Response<pb::PreviewRescheduleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = BookingId::of_field("booking_id", &request.booking_id)?;
        let to = DepartureId::of_field("departure_id", &request.departure_id)?;
        let quote = reschedule::preview(&self.db, &self.offers, &caller, id, to).await?;
        Ok(Response::new(pb::PreviewRescheduleResponse {
            total: Some(quote.total.to_wire()),
            price_difference: Some(quote.difference.to_wire()),
            refund: Some(quote.refund.to_wire()),
            refund_limit_percent: quote.refund_limit,
        }))
    }

    async fn reschedule_booking(
        &self,
        request: Request<pb::RescheduleBookingRequest>,
    ) -> Result<Response<pb::RescheduleBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let booking = BookingId::of_field("booking_id", &request.booking_id)?;
        let to = DepartureId::of_field("departure_id", &request.departure_id)?;
        let quoted = request.price_difference.as_ref().map(Money::of_wire).transpose();
        let quoted = quoted.map_err(|problem| ApiError::field("price_difference", problem.to_string()))?;
        let key = key("RescheduleBooking", &caller, &request.request_id, &request);
        let means = reschedule::means(request)?;
        let wish = reschedule::Wish { caller, key, booking, to, quoted, means };
        let answer = reschedule::reschedule(&self.db, &self.offers, &self.board, &self.payments, wish).await?;
        Ok(Response::new(pb::RescheduleBookingResponse {
            booking: Some(convert::booking(&answer.booking)),
            r#move: answer.paid.as_ref().map(convert::paid_move),
            next_action_url: answer.next_action_url,
        }))
    }

    async fn redeem_voucher(
        &self,
        request: Request<pb::RedeemVoucherRequest>,
    ) -> Result<Response<pb::RedeemVoucherResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let key = key("RedeemVoucher", &caller, &request.request_id, &request);
        // Scanned: a signed token. Typed: the code itself.
        let code =
            self.vouchers.read(&request.voucher_code).map_err(|_| ApiError::from(BookingError::VoucherNotFound))?;
        let (booking, item) = checkin::redeem(&self.changes, caller, key, code).await?;
        Ok(Response::new(pb::RedeemVoucherResponse {
            booking: Some(convert::booking(&booking)),
            item: Some(convert::item(&item)),
        }))
    }

    async fn join_waiting_list(
        &self,
        request: Request<pb::JoinWaitingListRequest>,
    ) -> Result<Response<pb::JoinWaitingListResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let dates = convert::dates(&request.from_date, &request.to_date)?;
        let target = match (request.departure_id.as_str(), request.tour_id.as_str()) {
            ("", "") => return Err(ApiError::field("departure_id", "is required, or tour_id").into()),
            (departure, "") if dates == Dates::default() => {
                Target::Departure(DepartureId::of_field("departure_id", departure)?)
            }
            (_, "") => return Err(ApiError::field("from_date", "goes with tour_id alone").into()),
            ("", tour) => Target::Tour(TourId::of_field("tour_id", tour)?, dates),
            _ => return Err(ApiError::field("tour_id", "goes without departure_id").into()),
        };
        let wish = waiting::Wish {
            customer: caller.customer()?,
            key: key("JoinWaitingList", &caller, &request.request_id, &request),
            scope: caller.scope,
            target,
            party: convert::party(&request.units)?,
            contact: convert::contact(request.contact.as_ref())?,
            offer_seconds: self.config.waiting_offer_seconds,
            promo_code: request.promo_code.clone(),
        };
        let entry = waiting::join(&self.db, &self.offers, &self.codes, wish).await?;
        Ok(Response::new(pb::JoinWaitingListResponse { entry: Some(convert::entry(&entry)) }))
    }

    async fn leave_waiting_list(
        &self,
        request: Request<pb::LeaveWaitingListRequest>,
    ) -> Result<Response<pb::LeaveWaitingListResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = WaitingId::of_field("entry_id", &request.entry_id)?;
        let key = key("LeaveWaitingList", &caller, &request.request_id, &request);
        let entry = waiting::leave(&self.db, caller, key, id).await?;
        Ok(Response::new(pb::LeaveWaitingListResponse { entry: Some(convert::entry(&entry)) }))
    }

    async fn list_waiting_entries(
        &self,
        request: Request<pb::ListWaitingEntriesRequest>,
    ) -> Result<Response<pb::ListWaitingEntriesResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.list_waiting(&caller, request.into_inner()).await?))
    }

    async fn get_booking(
        &self,
        request: Request<pb::GetBookingRequest>,
    ) -> Result<Response<pb::GetBookingResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = BookingId::of_field("booking_id", &request.into_inner().booking_id)?;
        let booking = caller.sees(self.load(id).await?).map_err(ApiError::from)?;
        Ok(Response::new(pb::GetBookingResponse { booking: Some(convert::booking(&booking)) }))
    }

    async fn list_bookings(
        &self,
        request: Request<pb::ListBookingsRequest>,
    ) -> Result<Response<pb::ListBookingsResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(self.list(&caller, request.into_inner()).await?))
    }
}
