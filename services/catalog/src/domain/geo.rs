//! Places on the earth and boxes around them.
#![allow(
    clippy::float_arithmetic,
    reason = "coordinates are no amounts: the distance itself is computed in whole metres"
)]

/// A point, WGS84 degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub latitude: f64,
    pub longitude: f64,
}

impl Place {
    /// `None` when it is not on the earth.
    pub(crate) fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let on_earth = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        on_earth.then_some(Self { latitude, longitude })
    }
}

/// A box of latitudes and longitudes that does not cross the date line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GeoBox {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

/// Boxes that hold the whole circle (and more): two where it crosses the date line, all longitudes near a pole.
pub(crate) fn boxes_around(center: Place, radius_meters: i32) -> Vec<GeoBox> {
    // One degree of latitude has 111,195 m on a sphere of the mean radius; a little more is harmless.
    let margin = f64::from(radius_meters) / 111_000.0;
    let south = center.latitude - margin;
    let north = center.latitude + margin;
    let whole = GeoBox { west: -180.0, south: south.max(-90.0), east: 180.0, north: north.min(90.0) };
    if south <= -89.0 || north >= 89.0 {
        return vec![whole];
    }
    // The circle is widest, in degrees of longitude, a little towards the pole from its middle: sin(dlon) = sin(r)/cos(lat).
    let ratio = (margin.to_radians().sin() / center.latitude.to_radians().cos()).abs();
    if ratio >= 1.0 {
        return vec![whole];
    }
    let wide = ratio.asin().to_degrees() + 0.001;
    let (west, east) = (center.longitude - wide, center.longitude + wide);
    let part = |west, east| GeoBox { west, east, ..whole };
    if west < -180.0 {
        vec![part(-180.0, east), part(west + 360.0, 180.0)]
    } else if east > 180.0 {
        vec![part(west, 180.0), part(-180.0, east - 360.0)]
    } else {
        vec![part(west, east)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(boxes: &[GeoBox], latitude: f64, longitude: f64) -> bool {
        boxes.iter().any(|b| (b.south..=b.north).contains(&latitude) && (b.west..=b.east).contains(&longitude))
    }

    #[test]
    fn a_box_reaches_over_the_date_line_and_around_a_pole() {
        let fiji = boxes_around(Place { latitude: -17.0, longitude: 179.9 }, 100_000);
        assert!(holds(&fiji, -17.0, -179.5) && holds(&fiji, -17.0, 179.2) && !holds(&fiji, -17.0, 0.0));
        let pole = boxes_around(Place { latitude: 89.9, longitude: 0.0 }, 50_000);
        assert!(holds(&pole, 89.9, 180.0) && !holds(&pole, 80.0, 0.0));
    }

    #[test]
    fn a_box_holds_every_point_of_its_circle() {
        for latitude in [-75.0_f64, -40.0, 0.0, 48.85, 70.0, 85.0] {
            for radius in [1_000, 50_000, 400_000, 1_000_000] {
                let boxes = boxes_around(Place { latitude, longitude: 10.0 }, radius);
                let r = f64::from(radius) / 6_371_008.8;
                let lat = latitude.to_radians();
                for degree in 0..360 {
                    let bearing = f64::from(degree).to_radians();
                    let point = (lat.sin() * r.cos() + lat.cos() * r.sin() * bearing.cos()).asin();
                    let turn = (bearing.sin() * r.sin() * lat.cos()).atan2(r.cos() - lat.sin() * point.sin());
                    let longitude = (10.0 + turn.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
                    assert!(holds(&boxes, point.to_degrees(), longitude), "{latitude} {radius} {degree}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_on_the_earth_is_no_place() {
        for (latitude, longitude) in [(90.1, 0.0), (0.0, 180.1), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(Place::new(latitude, longitude).is_none());
        }
    }
}
