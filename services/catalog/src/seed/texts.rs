//! What the seeded tours say. Names of places and countries stand in quotes or after a colon, as the file has them,
//! because no table tells which article or preposition each of 1,121 names takes in French.

use super::sites::Site;
use crate::domain::{text::LocalizedText, tour::Category};

/// The title and the description of a site's tour.
pub(super) fn tour(site: &Site, category: Category) -> (LocalizedText, LocalizedText) {
    let Site { name_en, name_fr, inscribed, .. } = site;
    let (kind_en, kind_fr) = match category {
        Category::MultiDay => ("three days with a guide", "séjour guidé de trois jours"),
        Category::DayTrip | Category::Activity => ("guided day trip", "excursion guidée d’une journée"),
        Category::GuidedWalk => ("guided walk", "visite guidée à pied"),
    };
    let (story_en, story_fr) = match category {
        Category::MultiDay => (
            format!(
                "Take three days for “{name_en}”, with a local guide, two nights in small guesthouses and time to \
                 look around on your own."
            ),
            format!(
                "Prenez trois jours pour découvrir le site « {name_fr} », avec un guide local, deux nuits en petite \
                 maison d’hôtes et du temps libre sur place."
            ),
        ),
        Category::DayTrip | Category::Activity => (
            format!(
                "Spend a whole day at “{name_en}” with a local guide; transport from the meeting point and a picnic are included."
            ),
            format!(
                "Passez une journée entière sur le site « {name_fr} » avec un guide local ; le transport depuis le \
                 point de rendez-vous et le pique-nique sont compris."
            ),
        ),
        Category::GuidedWalk => (
            format!(
                "Walk through “{name_en}” with a local guide who knows its stories, its corners and the best views."
            ),
            format!(
                "Parcourez à pied le site « {name_fr} » avec un guide local qui en connaît l’histoire, les recoins et \
                 les plus belles vues."
            ),
        ),
    };
    let several = site.countries_en.contains(',');
    let (label_en, label_fr) = if several { ("Countries", "Pays traversés") } else { ("Country", "Pays") };
    let countries_en = site.countries_en.replace(',', ", ");
    let countries_fr = site.countries_fr.replace(',', ", ");
    let title = LocalizedText { en: format!("{name_en}: {kind_en}"), fr: format!("{name_fr} : {kind_fr}") };
    let description = LocalizedText {
        en: format!("{story_en} On the UNESCO World Heritage List since {inscribed}. {label_en}: {countries_en}."),
        fr: format!(
            "{story_fr} Inscrit sur la Liste du patrimoine mondial de l’UNESCO en {inscribed}. {label_fr} : \
             {countries_fr}."
        ),
    };
    (title, description)
}

fn both(en: &str, fr: &str) -> LocalizedText {
    LocalizedText { en: en.to_owned(), fr: fr.to_owned() }
}

/// The titles of a tour's options.
pub(super) fn option(category: Category, second: bool) -> LocalizedText {
    match (category, second) {
        (Category::MultiDay, _) => both("Small group, guesthouse included", "Petit groupe, hébergement compris"),
        (Category::DayTrip | Category::Activity, false) => both("Day trip in a group", "Excursion en groupe"),
        (Category::DayTrip | Category::Activity, true) => {
            both("Private trip for up to six people", "Excursion privée pour six personnes au plus")
        }
        (Category::GuidedWalk, false) => both("Morning walk", "Visite du matin"),
        (Category::GuidedWalk, true) => both("Evening walk in a small group", "Visite du soir en petit groupe"),
    }
}

/// The seeded suppliers of a region: invented names under a domain that cannot exist.
pub(super) fn suppliers(region: &str) -> [(&'static str, &'static str); 4] {
    match region {
        "Africa" => [
            ("Baobab Guides", "bookings@baobab-guides.example"),
            ("Great Rift Journeys", "bookings@great-rift.example"),
            ("Sahel & Savanna Tours", "bookings@sahel-savanna.example"),
            ("Cape to Coast Walks", "bookings@cape-to-coast.example"),
        ],
        "Arab States" => [
            ("Caravan Guides", "bookings@caravan-guides.example"),
            ("Medina Walks", "bookings@medina-walks.example"),
            ("Oasis Journeys", "bookings@oasis-journeys.example"),
            ("Incense Road Tours", "bookings@incense-road.example"),
        ],
        "Asia and the Pacific" => [
            ("Lotus Path Tours", "bookings@lotus-path.example"),
            ("Monsoon Walks", "bookings@monsoon-walks.example"),
            ("Silk & Tea Journeys", "bookings@silk-tea.example"),
            ("Southern Cross Guides", "bookings@southern-cross.example"),
        ],
        "Latin America and the Caribbean" => [
            ("Condor Guides", "bookings@condor-guides.example"),
            ("Plaza Mayor Walks", "bookings@plaza-mayor.example"),
            ("Ceiba Journeys", "bookings@ceiba-journeys.example"),
            ("Trade Wind Tours", "bookings@trade-wind.example"),
        ],
        _ => [
            ("Cobblestone Walks", "bookings@cobblestone-walks.example"),
            ("Old Stones Guides", "bookings@old-stones.example"),
            ("Northern Light Journeys", "bookings@northern-light.example"),
            ("Grand Tour Company", "bookings@grand-tour.example"),
        ],
    }
}
