use crate::{
    passing::{CHECK, check, seats},
    script::{Answer, Script},
    start,
};
use std::time::{Duration, Instant};
use tourmesh::booking::v1::{CheckAvailabilityResponse, booking_service_client::BookingServiceClient};
#[tokio::test(flavor = "multi_thread")]
#[ignore]
async fn speed() {
    let script = Script::start().await;
    script.answer(CHECK, Answer::of(&CheckAvailabilityResponse { availabilities: vec![seats(7)] }));
    let gateway = start(&script).await;
    for (name, url) in [("direct", script.url()), ("gateway", gateway.url())] {
        let begun = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..4 {
            let channel = tonic::transport::Endpoint::from_shared(url.clone()).unwrap().connect_lazy();
            for _ in 0..16 {
                let mut client = BookingServiceClient::new(channel.clone());
                tasks.push(tokio::spawn(async move {
                    let mut n = 0;
                    while begun.elapsed() < Duration::from_secs(4) {
                        client.check_availability(check()).await.unwrap();
                        n += 1;
                    }
                    n
                }));
            }
        }
        let mut n = 0;
        for t in tasks {
            n += t.await.unwrap();
        }
        eprintln!("{name}: {}/s", n / 4);
    }
}
