//! The real places: data/world-heritage-sites.csv, which is built into the binary.

use serde::Deserialize;

/// See data/README.md.
const CSV: &[u8] = include_bytes!("../../../../data/world-heritage-sites.csv");

/// One site.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Site {
    pub site_id: String,
    pub name_en: String,
    pub name_fr: String,
    /// Cultural, Natural or Mixed.
    pub category: String,
    pub inscribed: i32,
    pub longitude: f64,
    pub latitude: f64,
    /// Empty for some, 0 for many: then it is unknown.
    area_hectares: Option<f64>,
    /// Comma-separated; empty for one.
    country_codes: String,
    pub countries_en: String,
    pub countries_fr: String,
    /// Comma-separated for a few.
    region_en: String,
}

impl Site {
    /// The first of its countries; empty when it has none.
    pub(super) fn country(&self) -> &str {
        self.country_codes.split(',').next().unwrap_or_default().trim()
    }
    /// The first of its regions.
    pub(super) fn region(&self) -> &str {
        self.region_en.split(',').next().unwrap_or_default().trim()
    }
    /// It is known to be larger than so many hectares.
    pub(super) fn larger_than(&self, hectares: f64) -> bool {
        self.area_hectares.is_some_and(|area| area > hectares)
    }
}

/// All sites, in the order of the file.
pub(super) fn all() -> Result<Vec<Site>, csv::Error> {
    csv::Reader::from_reader(CSV).deserialize().collect()
}
