//! Protobuf's encoding: varints, keys, lengths. At least as strict as prost, so that nothing passes here and fails
//! there.

/// The greatest field number there is.
const MAX_NUMBER: u64 = (1 << 29) - 1;

pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const LENGTH: u8 = 2;
pub(super) const GROUP_START: u8 = 3;
pub(super) const GROUP_END: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// Why bytes are not the message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    CutShort,
    Varint,
    Key,
    Group,
    WireType,
    Utf8,
    TooDeep,
}

/// What is left of the bytes at hand.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            // Of the tenth byte only the lowest bit fits into 64.
            if at == 9 && *byte > 1 {
                return Err(Fault::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Fault::CutShort)
    }

    /// A field's number and wire type.
    pub(super) fn key(&mut self) -> Result<(u32, u8), Fault> {
        let key = self.varint()?;
        let (number, wire) = (key >> 3, (key & 7) as u8);
        match u32::try_from(number) {
            Ok(narrow) if (1..=MAX_NUMBER).contains(&number) && wire <= FIXED32 => Ok((narrow, wire)),
            _ => Err(Fault::Key),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Fault::CutShort)?;
        self.0 = rest;
        Ok(taken)
    }

    /// What a length stands before.
    pub(super) fn chunk(&mut self) -> Result<&'a [u8], Fault> {
        let len = usize::try_from(self.varint()?).map_err(|_| Fault::CutShort)?;
        self.take(len)
    }

    /// Four or eight bytes, little end first.
    pub(super) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Fault::CutShort)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn skip(&mut self, wire: u8) -> Result<(), Fault> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.take(8).map(drop),
            LENGTH => self.chunk().map(drop),
            FIXED32 => self.take(4).map(drop),
            GROUP_START | GROUP_END => Err(Fault::Group),
            _ => Err(Fault::Key),
        }
    }
}
