//! Booking, Payment and Notification as they are, each on a runtime of its own: dropping that runtime ends everything
//! that the role was doing, as suddenly as the end of its process would. The catalog is scripted.

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, runtime, sync::mpsc};
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};
use tourmesh::catalog::v1::{
    self as catalog,
    catalog_service_server::{CatalogService, CatalogServiceServer},
};
use tourmesh_kit::{
    ApiError, ErrorReason,
    server::Listeners,
    shutdown::Shutdown,
    steps::{Fault, Faults, Moment},
};
use tourmesh_testkit::{Room, World, bearer};

/// The roles that write what the proof is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Booking,
    Payment,
    Notification,
}

pub const PARTS: [Part; 3] = [Part::Booking, Part::Payment, Part::Notification];

/// Where a fault is to be, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    pub part: Part,
    pub step: &'static str,
    pub moment: Moment,
    pub fault: Fault,
}

/// The faults that are planned, and what was seen.
#[derive(Default)]
struct Faulty {
    plans: Vec<Plan>,
    /// Writes that no list has.
    unlisted: Vec<(Part, &'static str)>,
}

/// Three roles, and what they need.
pub struct Stage {
    pub world: &'static World,
    pub booking: Room,
    rooms: HashMap<Part, Room>,
    ports: HashMap<Part, u16>,
    running: Mutex<HashMap<Part, runtime::Runtime>>,
    faulty: Arc<Mutex<Faulty>>,
    pub catalog: Offers,
    databases: Vec<(String, String)>,
}

/// Below the range from which systems take ports for outgoing connections, so that a restarted role finds its own again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Stage {
    /// Starts everything, with these settings; `listed` are the names of each part's writes.
    pub async fn new(listed: &HashMap<Part, Vec<&'static str>>, settings: &[(&str, &str)]) -> Arc<Self> {
        let world = World::get().await;
        let catalog = Offers::default();
        let catalog_url = format!("http://{}", serve_offers(catalog.clone()).await);
        let ports: HashMap<Part, u16> = PARTS.into_iter().map(|part| (part, free_port())).collect();
        let faulty = Arc::new(Mutex::new(Faulty::default()));
        let (died, mut deaths) = mpsc::unbounded_channel();
        let mut databases = Vec::new();
        let mut rooms: HashMap<Part, Room> = HashMap::new();
        let mut prefix = String::new();
        for (part, role, schema) in [
            (Some(Part::Booking), "booking", &tourmesh_booking::SCHEMA),
            (Some(Part::Payment), "payment", &tourmesh_payment::SCHEMA),
            (Some(Part::Notification), "notification", &tourmesh_notification::SCHEMA),
            (None, "catalog", &tourmesh_catalog::SCHEMA),
            (None, "identity", &tourmesh_identity::SCHEMA),
        ] {
            let room = world.room(role, schema).await;
            let url = room.env().foreign("TOURMESH_DATABASE_URL").unwrap().to_owned();
            databases.push((format!("TOURMESH_{}_DATABASE_URL", role.to_uppercase()), url));
            let Some(part) = part else { continue };
            if part == Part::Booking {
                prefix = room.env().foreign("TOURMESH_NATS_PREFIX").unwrap().to_owned();
            }
            let faults = {
                let (faulty, died, listed) = (faulty.clone(), died.clone(), listed[&part].clone());
                Faults::new(move |step, moment| {
                    let mut faulty = faulty.lock().unwrap();
                    // The sandbox is the other side of the wire; Notification lists a message's life alone.
                    let free = part == Part::Notification || part == Part::Payment && step.is_empty();
                    if !(listed.contains(&step) || free) {
                        faulty.unlisted.push((part, step));
                    }
                    let found = faulty.plans.iter().position(|p| (p.part, p.step, p.moment) == (part, step, moment))?;
                    let plan = faulty.plans.remove(found);
                    if plan.fault == Fault::Die {
                        let _ = died.send(part);
                    }
                    Some(plan.fault)
                })
            };
            let room = settings.iter().fold(room, |room, (setting, value)| room.with(setting, value));
            let room = room
                .with("NATS_PREFIX", &prefix)
                .with("DATABASE_POOL", 4)
                .with("SANDBOX_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef")
                .with("PROVIDER_TIMEOUT_MS", 300)
                .with("PENDING_GRACE_MS", 500)
                .with("SANDBOX_TIMEOUT_MS", 50)
                // After the reconciler has looked.
                .with("SANDBOX_LATE_MS", 2_500)
                .with("MAIL_TRANSPORT", "null")
                .with("SMTP_TIMEOUT_SECONDS", 1)
                .with("LEASE_SECONDS", 3)
                .peer("catalog", &catalog_url)
                .peer("payment", format!("http://127.0.0.1:{}", ports[&Part::Payment]))
                .with_faults(faults);
            rooms.insert(part, room);
        }
        let booking = rooms[&Part::Booking].clone();
        let running = Mutex::default();
        let stage = Arc::new(Self { world, booking, rooms, ports, running, faulty, catalog, databases });
        for part in PARTS {
            stage.start(part);
        }
        let restarting = Arc::downgrade(&stage);
        tokio::spawn(async move {
            while let Some(part) = deaths.recv().await {
                let Some(stage) = restarting.upgrade() else { return };
                stage.kill(part);
                stage.start(part);
            }
        });
        stage
    }

    fn start(&self, part: Part) {
        let runtime = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (env, port) = (self.rooms[&part].env(), self.ports[&part]);
        runtime.spawn(async move {
            let grpc = loop {
                match TcpListener::bind(("127.0.0.1", port)).await {
                    Ok(listener) => break listener,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            };
            let (listeners, shutdown) = (Listeners { grpc, metrics: None }, Shutdown::new());
            match part {
                Part::Booking => tourmesh_booking::serve(env, listeners, shutdown).await,
                Part::Payment => tourmesh_payment::serve(env, listeners, shutdown).await,
                Part::Notification => tourmesh_notification::serve(env, listeners, shutdown).await,
            }
            .unwrap();
        });
        self.running.lock().unwrap().insert(part, runtime);
    }

    fn kill(&self, part: Part) {
        if let Some(runtime) = self.running.lock().unwrap().remove(&part) {
            runtime.shutdown_background();
        }
    }

    /// Puts a fault where it is planned, once.
    pub fn plan(&self, plan: Plan) {
        self.faulty.lock().unwrap().plans.push(plan);
    }

    /// Waits for the planned faults to come about: what goes on in the background takes its time. False: it takes longer,
    /// or never comes there.
    pub async fn come_about(&self) -> bool {
        let begun = Instant::now();
        loop {
            if self.faulty.lock().unwrap().plans.is_empty() {
                return true;
            }
            if begun.elapsed() > Duration::from_secs(10) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What was planned and did not come about, and what was written under no listed name.
    pub fn left_over(&self) -> (Vec<Plan>, Vec<(Part, &'static str)>) {
        let mut faulty = self.faulty.lock().unwrap();
        (std::mem::take(&mut faulty.plans), faulty.unlisted.clone())
    }

    /// A new connection: the one before may lead to the dead.
    pub fn channel(&self, part: Part) -> Channel {
        let url = format!("http://127.0.0.1:{}", self.ports[&part]);
        Endpoint::from_shared(url).unwrap().timeout(Duration::from_secs(5)).connect_lazy()
    }

    /// `tourmesh verify` over all databases: the eight promises.
    pub async fn verify(&self) -> Result<(), String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tourmesh"));
        command.args(["verify", "--settle", "60"]).envs(self.databases.iter().cloned());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        if output.status.success() { Ok(()) } else { Err(said) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for part in PARTS {
            self.kill(part);
        }
    }
}

/// Calls until there is an answer, as a client does that keeps its request id; then the same again, which must change
/// nothing and be answered alike.
pub async fn twice<M, T, F, Fut>(token: &str, message: M, call: F) -> Result<T, Status>
where
    M: Clone,
    F: Fn(Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let first = insist(token, message.clone(), &call).await;
    let again = insist(token, message, &call).await;
    let reason = |answer: &Result<T, Status>| answer.as_ref().err().map(tourmesh_testkit::reason);
    assert_eq!(reason(&first), reason(&again), "a repeat is answered otherwise");
    again
}

/// Calls until there is an answer.
pub async fn insist<M, T, F, Fut>(token: &str, message: M, call: F) -> Result<T, Status>
where
    M: Clone,
    F: Fn(Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let begun = Instant::now();
    loop {
        let mut request = bearer(message.clone(), token);
        request.set_timeout(Duration::from_secs(4));
        match call(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if is_no_answer(&status) && begun.elapsed() < Duration::from_secs(60) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(status),
        }
    }
}

fn is_no_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::ResourceExhausted
    )
}

/// Waits for what follows by itself, however long the broker takes to tell a successor what the dead had not finished.
pub async fn soon<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What the catalog offers.
#[derive(Clone, Default)]
pub struct Offers(Arc<Mutex<HashMap<String, catalog::Offer>>>);

impl Offers {
    pub fn put(&self, offer: catalog::Offer) {
        let id = offer.departure.as_ref().unwrap().id.clone();
        self.0.lock().unwrap().insert(id, offer);
    }
}

async fn serve_offers(offers: Offers) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(Server::builder().add_service(CatalogServiceServer::new(offers)).serve_with_incoming(incoming));
    address
}

#[tonic::async_trait]
impl CatalogService for Offers {
    async fn get_offer(
        &self,
        request: Request<catalog::GetOfferRequest>,
    ) -> Result<Response<catalog::GetOfferResponse>, Status> {
        let offer = self.0.lock().unwrap().get(&request.get_ref().departure_id).cloned();
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
