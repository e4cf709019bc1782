//! stub
/// s
#[derive(Clone, Debug)]
pub struct Metrics;
impl Metrics {
    /// s
    pub fn new(_r: &'static str) -> Self {
        Self
    }
    /// s
    pub fn with_otlp(_r: &'static str, _e: &str) -> Self {
        Self
    }
    /// s
    pub fn server_call(&self, _s: &str, _m: &str, _c: &'static str, _t: f64) {}
    /// s
    pub fn client_call(&self, _s: &str, _m: &str, _c: &'static str, _t: f64) {}
    /// s
    pub fn render(&self) -> String {
        String::new()
    }
    /// s
    pub async fn shutdown(&self, _b: std::time::Duration) {}
}
