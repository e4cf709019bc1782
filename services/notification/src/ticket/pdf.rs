//! The PDF ticket: what was booked, and a card with a QR code for each guest, four to six on a page.

#![allow(clippy::float_arithmetic, reason = "points on paper, not money")]

mod fonts;

use pdf_writer::{Content, Filter, Finish as _, Rect, Ref, Settings, Str, TextStr};

pub(crate) use self::fonts::beginning;
use self::fonts::{OBJECTS, begun, embed, name};

use super::{
    TicketError, deflated,
    font::{Font, Of, Typeset},
    qr::{MARGIN, Qr},
};
use crate::domain::{
    BookingId,
    facts::{BookingFacts, Item},
    locale,
    message::Language,
};

/// A4, in points.
const PAGE: (f32, f32) = (595.0, 842.0);
const EDGE: f32 = 42.0;
const CARD: f32 = 122.0;
const GAP: f32 = 10.0;
/// What a ticket of a large group holds; the text of the e-mail lists every code.
pub const GUESTS_MOST: usize = 300;

const GREEN: [f32; 3] = [0.059, 0.361, 0.302];
const INK: [f32; 3] = [0.110, 0.169, 0.157];
const GREY: [f32; 3] = [0.357, 0.420, 0.404];

/// A guest, and what the guest's QR code looks like.
pub struct Voucher<'a> {
    /// The guest.
    pub item: &'a Item,
    /// The code.
    pub qr: Qr,
}

/// The words on a ticket.
struct Words {
    title: &'static str,
    start: &'static str,
    zone: &'static str,
    duration: &'static str,
    name: &'static str,
    booking: &'static str,
    price: &'static str,
    paid: &'static str,
    show: &'static str,
    boxes: &'static str,
    more: &'static str,
    page: &'static str,
}

const ENGLISH: Words = Words {
    title: "Ticket",
    start: "Start",
    zone: "Time zone",
    duration: "Duration",
    name: "Booked by",
    booking: "Booking",
    price: "To be paid on arrival",
    paid: "Paid",
    show: "Show one code for each guest. Keep them to yourself: whoever shows a code is let in.",
    boxes: "\u{25a1} stands for letters that cannot be printed here; they do not matter at the entrance.",
    more: "The codes of further guests are in the e-mail.",
    page: "Page",
};
const FRENCH: Words = Words {
    title: "Billet",
    start: "Départ",
    zone: "Fuseau horaire",
    duration: "Durée",
    name: "Réservé par",
    booking: "Réservation",
    price: "À régler sur place",
    paid: "Payé",
    show: "Présentez un code par participant. Ne les partagez pas : quiconque présente un code est admis.",
    boxes: "\u{25a1} remplace des lettres qui ne peuvent être imprimées ici ; elles sont sans importance à l’entrée.",
    more: "Les codes des autres participants figurent dans l’e-mail.",
    page: "Page",
};

/// Which of the two fonts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Regular,
    Bold,
}

/// Nobody reads a ticket's source.
const COMPACT: Settings = Settings { pretty: false };

/// Writes a ticket.
///
/// # Errors
/// When the font that is part of the binary is broken: a defect of ours.
pub fn ticket(
    booking: BookingId,
    facts: &BookingFacts,
    language: Language,
    vouchers: &[Voucher<'_>],
) -> Result<Vec<u8>, TicketError> {
    let words = match language {
        Language::En => &ENGLISH,
        Language::Fr => &FRENCH,
    };
    let mut paper = Paper::blank()?;
    head(&mut paper, words, booking, facts, language, vouchers.len() > GUESTS_MOST);
    for voucher in vouchers.iter().take(GUESTS_MOST) {
        if paper.y < EDGE + 24.0 + CARD {
            paper.pages.push(blank_page());
            paper.y = PAGE.1 - EDGE;
        }
        card(&mut paper, voucher, language);
    }
    let pages = paper.pages.len();
    for number in 0..pages {
        let text = format!("{} {} / {pages} · {booking}", words.page, number + 1);
        paper.on(number, Style::Regular, 8.0, GREY, EDGE, EDGE - 14.0, &text);
    }
    let title = format!("{}: {}", words.title, facts.tour.shown_in(language));
    paper.finish(&title, language)
}

fn head(paper: &mut Paper, words: &Words, booking: BookingId, facts: &BookingFacts, language: Language, more: bool) {
    let band = 46.0;
    paper.current().set_fill_rgb(GREEN[0], GREEN[1], GREEN[2]).rect(0.0, PAGE.1 - band, PAGE.0, band).fill_nonzero();
    paper.y = PAGE.1 - 29.0;
    paper.line(Style::Bold, 15.0, [1.0; 3], EDGE, "tourmesh");
    let title = words.title;
    let width = paper.regular.font.width(title) as f32 * 15.0 / 1000.0;
    paper.line(Style::Regular, 15.0, [1.0; 3], PAGE.0 - EDGE - width, title);
    paper.y = PAGE.1 - band - 30.0;
    let inner = PAGE.0 - 2.0 * EDGE;
    paper.paragraph(Style::Bold, 18.0, INK, EDGE, inner, 3, facts.tour.shown_in(language));
    let option = facts.option.shown_in(language);
    if !option.is_empty() {
        paper.paragraph(Style::Regular, 12.0, INK, EDGE, inner, 2, option);
    }
    paper.y -= 8.0;
    let duration = locale::duration(facts.duration_minutes, language);
    let rows = [
        (words.start, locale::date_time(&facts.local_start, language)),
        (words.zone, facts.time_zone.clone()),
        (words.duration, duration),
        (words.name, facts.name.clone()),
        (if facts.pay_on_arrival { words.price } else { words.paid }, locale::money(&facts.total, language)),
        (words.booking, booking.to_string()),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let y = paper.y;
        paper.line(Style::Regular, 10.0, GREY, EDGE, name);
        paper.y = y;
        paper.paragraph(Style::Bold, 10.0, INK, EDGE + 140.0, inner - 140.0, 2, value);
    }
    paper.y -= 6.0;
    paper.paragraph(Style::Regular, 9.0, GREY, EDGE, inner, 2, words.show);
    let fonts = (paper.regular.font, paper.bold.font);
    let shown = [facts.name.as_str(), facts.tour.shown_in(language), option];
    let guests = facts.items.iter().map(|item| item.guest.as_str());
    if !shown.into_iter().chain(guests).all(|text| fonts.0.has_all(text) && fonts.1.has_all(text)) {
        paper.paragraph(Style::Regular, 9.0, GREY, EDGE, inner, 2, words.boxes);
    }
    if more {
        paper.paragraph(Style::Regular, 9.0, GREY, EDGE, inner, 2, words.more);
    }
}

/// One guest.
fn card(paper: &mut Paper, voucher: &Voucher<'_>, language: Language) {
    let (top, bottom) = (paper.y, paper.y - CARD);
    let [r, g, b] = GREEN;
    paper
        .current()
        .save_state()
        .set_stroke_rgb(r, g, b)
        .set_line_width(0.8)
        .set_dash_pattern([4.0, 3.0], 0.0)
        .rect(EDGE, bottom, PAGE.0 - 2.0 * EDGE, CARD)
        .stroke()
        .restore_state();
    let left = EDGE + 16.0;
    let qr_side = CARD - 10.0;
    let width = PAGE.0 - 2.0 * EDGE - qr_side - 36.0;
    paper.y = top - 26.0;
    paper.paragraph(Style::Bold, 13.0, INK, left, width, 1, locale::unit(&voucher.item.unit, language));
    if !voucher.item.guest.is_empty() {
        paper.paragraph(Style::Regular, 12.0, INK, left, width, 2, &voucher.item.guest);
    }
    paper.y = bottom + 20.0;
    paper.line(Style::Bold, 11.0, GREEN, left, &voucher.item.voucher);

    let module = qr_side / (voucher.qr.width + 2 * MARGIN) as f32;
    let (x0, y0) = (PAGE.0 - EDGE - qr_side - 5.0, top - 5.0);
    // In units of modules, from the upper left corner down: a third of the digits.
    let margin = MARGIN as f32 * module;
    let content = paper.current();
    content.save_state().set_fill_gray(0.0).transform([module, 0.0, 0.0, -module, x0 + margin, y0 - margin]);
    for [x, y, width, height] in voucher.qr.rectangles() {
        content.rect(x as f32, y as f32, width as f32, height as f32);
    }
    content.fill_nonzero().restore_state();
    paper.y = bottom - GAP;
}

/// Pages as they are written.
struct Paper {
    pages: Vec<Content>,
    regular: Typeset,
    bold: Typeset,
    /// Where the next line stands.
    y: f32,
}

fn blank_page() -> Content {
    Content::with_settings(COMPACT)
}

impl Paper {
    fn blank() -> Result<Self, TicketError> {
        let (regular, bold) = (Typeset::of(Font::regular()?)?, Typeset::of(Font::bold()?)?);
        Ok(Self { pages: vec![blank_page()], regular, bold, y: 0.0 })
    }

    fn set(&mut self, style: Style) -> &mut Typeset {
        match style {
            Style::Regular => &mut self.regular,
            Style::Bold => &mut self.bold,
        }
    }

    fn current(&mut self) -> &mut Content {
        if self.pages.is_empty() {
            self.pages.push(blank_page());
        }
        let last = self.pages.len() - 1;
        &mut self.pages[last]
    }

    fn line(&mut self, style: Style, size: f32, color: [f32; 3], x: f32, text: &str) {
        let (page, y) = (self.pages.len().saturating_sub(1), self.y);
        self.on(page, style, size, color, x, y, text);
    }

    #[allow(clippy::too_many_arguments, reason = "where and how a text stands")]
    fn on(&mut self, page: usize, style: Style, size: f32, color: [f32; 3], x: f32, y: f32, text: &str) {
        let stretches = self.set(style).set(text);
        let Some(content) = self.pages.get_mut(page) else { return };
        content.begin_text().set_fill_rgb(color[0], color[1], color[2]).next_line(x, y);
        for (of, text) in stretches {
            content.set_font(name(style, of), size).show(Str(&text));
        }
        content.end_text();
    }

    /// A text in lines of this width, at most so many; what does not fit ends in an ellipsis.
    #[allow(clippy::too_many_arguments, reason = "where and how a text stands")]
    fn paragraph(&mut self, style: Style, size: f32, color: [f32; 3], x: f32, width: f32, most: usize, text: &str) {
        for line in lines(self.set(style).font, text, (width * 1000.0 / size) as u32, most) {
            self.line(style, size, color, x, &line);
            self.y -= size * 1.4;
        }
    }

    fn finish(self, title: &str, language: Language) -> Result<Vec<u8>, TicketError> {
        let (mut pdf, common) = begun()?;
        let mut next = common.next;
        let mut fresh = |objects: i32| {
            next += objects;
            Ref::new(next - objects)
        };
        let mut fonts =
            vec![(name(Style::Regular, Of::Common), common.regular), (name(Style::Bold, Of::Common), common.bold)];
        for (style, typeset) in [(Style::Regular, &self.regular), (Style::Bold, &self.bold)] {
            if let Some(part) = typeset.further()? {
                let id = fresh(OBJECTS);
                embed(&mut pdf, typeset.font, &part, Of::Further, id);
                fonts.push((name(style, Of::Further), id));
            }
        }
        let (catalog, tree, info) = (fresh(1), fresh(1), fresh(1));
        pdf.catalog(catalog).pages(tree).lang(TextStr(language.as_str())).viewer_preferences().display_doc_title(true);
        pdf.document_info(info).title(TextStr(title)).producer(TextStr("tourmesh")).creator(TextStr("tourmesh"));
        let ids: Vec<(Ref, Ref)> = self.pages.iter().map(|_| (fresh(1), fresh(1))).collect();
        let count = i32::try_from(ids.len()).unwrap_or(i32::MAX);
        pdf.pages(tree).kids(ids.iter().map(|(page, _)| *page)).count(count);
        for ((id, content_id), content) in ids.into_iter().zip(self.pages) {
            let mut page = pdf.page(id);
            page.media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).parent(tree).contents(content_id);
            let mut resources = page.resources();
            let mut named = resources.fonts();
            for (name, font) in &fonts {
                named.pair(*name, *font);
            }
            named.finish();
            resources.finish();
            page.finish();
            pdf.stream(content_id, &deflated(content.finish().as_slice())?).filter(Filter::FlateDecode);
        }
        Ok(pdf.finish())
    }
}

/// A text in at most so many lines of this width (in thousandths of the font's size), broken between words where it can
/// be.
fn lines(font: &Font, text: &str, width: u32, most: usize) -> Vec<String> {
    let fits = |text: &str| font.width(text) <= width;
    // Nearly every text fits: it is measured once, and not word by word.
    let whole = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !whole.is_empty() && fits(&whole) {
        return vec![whole];
    }
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if fits(&longer) {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            line.push(letter);
            if !fits(&line) {
                line.pop();
                lines.push(std::mem::replace(&mut line, letter.to_string()));
            }
            if lines.len() > most {
                break;
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            while !fits(&format!("{last}…")) && last.pop().is_some() {}
            last.push('…');
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preview;

    fn made(facts: &BookingFacts, language: Language) -> Vec<u8> {
        let vouchers: Vec<_> = facts
            .items
            .iter()
            .map(|item| Voucher { item, qr: Qr::of(&format!("TM1.{}.0123456789ABCDEF", item.voucher)).unwrap() })
            .collect();
        ticket(BookingId::from_uuid(uuid::Uuid::nil()), facts, language, &vouchers).unwrap()
    }

    #[test]
    fn the_same_booking_is_the_same_ticket_to_the_byte_and_small() {
        for language in Language::ALL {
            let pdf = made(&preview::booking(), *language);
            assert_eq!(pdf, made(&preview::booking(), *language));
            assert!(pdf.starts_with(b"%PDF-1.7") && pdf.ends_with(b"%%EOF"), "{}", pdf.len());
            assert!(pdf.len() < 32_000, "{} bytes", pdf.len());
        }
    }

    #[test]
    fn a_group_has_many_pages_and_a_bound() {
        let mut facts = preview::booking();
        let one = facts.items[0].clone();
        facts.items = (0..900).map(|n| Item { voucher: format!("{n:026}"), ..one.clone() }).collect();
        let pdf = made(&facts, Language::En);
        assert!(pdf.len() < 600_000, "{} bytes", pdf.len());
        let pages = pdf.windows(10).filter(|w| *w == b"/Type/Page".as_slice()).count();
        assert!(pages > 50 && pages < 80, "{pages}");
    }

    #[test]
    fn long_texts_break_between_words_and_end_in_an_ellipsis() {
        let font = Font::regular().unwrap();
        let text = "one two three four five six seven eight nine ten";
        let broken = lines(font, text, 8_000, 10);
        assert_eq!(broken.join(" "), text);
        assert!(broken.iter().all(|l| font.width(l) <= 8_000));
        let cut = lines(font, text, 8_000, 2);
        assert!(cut.len() == 2 && cut[1].ends_with('…') && font.width(&cut[1]) <= 8_000, "{cut:?}");
        let endless = lines(font, &"x".repeat(5_000), 8_000, 3);
        assert!(endless.len() == 3 && endless[2].ends_with('…'));
    }
}
