//! `tourmesh health`: one question to one role.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tonic::{Request, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// Ask a role whether it serves.
#[derive(Args)]
pub struct Health {
    /// Where the role answers gRPC.
    #[arg(default_value = "http://127.0.0.1:8080")]
    url: String,
    /// One gRPC service of the role, such as tourmesh.booking.v1.BookingService; the whole role by default.
    #[arg(long, default_value = "")]
    service: String,
}

impl Health {
    pub async fn run(self) -> anyhow::Result<()> {
        let endpoint = Endpoint::from_shared(self.url.clone()).context("not a URL such as http://127.0.0.1:50052")?;
        let channel = endpoint.connect_timeout(Duration::from_secs(2)).connect().await;
        let channel = channel.with_context(|| format!("nobody answers at {}", self.url))?;
        let mut request = Request::new(HealthCheckRequest { service: self.service });
        request.set_timeout(Duration::from_secs(2));
        let status = HealthClient::new(channel).check(request).await?.into_inner().status();
        println!("{}", status.as_str_name());
        if status != ServingStatus::Serving {
            bail!("{} does not serve now", self.url);
        }
        Ok(())
    }
}

/// The role at this URL serves.
pub async fn serves(url: &str) -> bool {
    let Ok(endpoint) = Endpoint::from_shared(url.to_owned()) else { return false };
    let Ok(channel) = endpoint.connect_timeout(Duration::from_secs(1)).connect().await else { return false };
    let mut request = Request::new(HealthCheckRequest { service: String::new() });
    request.set_timeout(Duration::from_secs(1));
    let answer = HealthClient::new(channel).check(request).await;
    answer.is_ok_and(|a| a.into_inner().status() == ServingStatus::Serving)
}
