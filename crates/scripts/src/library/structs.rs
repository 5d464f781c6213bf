//! The library `struct`: numbers and strings in binary form, as a format says.

use mlua::{Lua, MultiValue, Table, Value};

use super::STRING_BYTES_MAX;
use crate::sandbox::native::{Arguments, Raise, Registry, as_number, text, to_integer};

/// Largest integer, in bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// Results of which handles can be kept.
const RESULTS_MAX: usize = 7_000;
/// The alignment of `!` without a number.
const ALIGNMENT: usize = 8;

/// A format while it is read: it ends at a NUL. Byte order and alignment change on the way.
struct Format<'a> {
    rest: &'a [u8],
    is_little: bool,
    alignment: usize,
}

impl<'a> Format<'a> {
    fn new(bytes: &'a [u8]) -> Format<'a> {
        let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
        Format { rest: &bytes[..end], is_little: cfg!(target_endian = "little"), alignment: 1 }
    }

    /// The next option and its size.
    fn next(&mut self) -> Result<Option<(u8, usize)>, Raise> {
        let Some((&option, rest)) = self.rest.split_first() else { return Ok(None) };
        self.rest = rest;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(1)?,
            b'i' | b'I' => {
                let size = self.number(4)?;
                if size > INTEGER_BYTES_MAX {
                    return text(format!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    /// The decimal number that comes next.
    fn number(&mut self, default: usize) -> Result<usize, Raise> {
        const MAX: usize = i32::MAX as usize;
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits == 0 {
            return Ok(default);
        }
        number.iter().try_fold(0, |sum: usize, digit| {
            let sum = sum * 10 + usize::from(digit - b'0');
            if sum > MAX { text("integral size overflow") } else { Ok(sum) }
        })
    }

    /// Bytes to skip so that an element of `size` bytes is aligned at `at`.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.alignment);
        (size - (at & (size - 1))) & (size - 1)
    }

    /// Applies an option that stands for no element.
    fn control(&mut self, option: u8) -> Result<(), Raise> {
        match option {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' => self.is_little = true,
            b'!' => {
                let alignment = self.number(ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return text(format!("alignment {alignment} is not a power of 2"));
                }
                self.alignment = alignment;
            }
            _ => return Err(Raise::Argument(1, format!("invalid format option '{}'", char::from(option)))),
        }
        Ok(())
    }

    fn ordered(&self, mut little: Vec<u8>) -> Vec<u8> {
        if !self.is_little {
            little.reverse();
        }
        little
    }

    fn pack_integer(&self, number: f64, size: usize) -> Vec<u8> {
        let value = if number < 0.0 { to_integer(number) as u64 } else { number as u64 };
        let mut bytes = value.to_le_bytes().to_vec();
        bytes.resize(size, 0);
        self.ordered(bytes)
    }

    fn unpack_integer(&self, bytes: &[u8], is_signed: bool) -> f64 {
        let bytes = self.ordered(bytes.to_vec());
        let mut value = bytes.iter().take(8).rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if !is_signed || bytes.is_empty() {
            return value as f64;
        }
        let mask = u64::MAX.wrapping_shl((bytes.len() * 8 - 1) as u32);
        if value & mask != 0 {
            value |= mask;
        }
        value as i64 as f64
    }
}

fn pack(lua: &Lua, args: &Arguments) -> Result<Vec<u8>, Raise> {
    let format = args.string(lua, 1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut packed = Vec::new();
    let mut arg = 1;
    while let Some((option, size)) = format.next()? {
        packed.resize(packed.len() + format.padding(packed.len(), option, size), 0);
        arg += usize::from(matches!(option, b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I'));
        arg += usize::from(matches!(option, b'f' | b'd' | b'c' | b's'));
        if arg > args.len() {
            let expected = if matches!(option, b'c' | b's') { "string" } else { "number" };
            return Err(Raise::Argument(arg, format!("{expected} expected, got nil")));
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                packed.extend_from_slice(&format.pack_integer(args.number(lua, arg)?, size));
            }
            b'x' => packed.push(0),
            b'f' => packed.extend(format.ordered((args.number(lua, arg)? as f32).to_le_bytes().to_vec())),
            b'd' => packed.extend(format.ordered(args.number(lua, arg)?.to_le_bytes().to_vec())),
            b'c' | b's' => {
                let string = args.string(lua, arg)?;
                let string = string.as_bytes();
                let size = if size == 0 { string.len() } else { size };
                let Some(part) = string.get(..size) else {
                    return Err(Raise::Argument(arg + 1, "string too short".to_owned()));
                };
                packed.extend_from_slice(part);
                if option == b's' {
                    packed.push(0);
                }
            }
            _ => format.control(option)?,
        }
        if packed.len() > STRING_BYTES_MAX {
            return text("resulting string too large");
        }
    }
    Ok(packed)
}

fn array<const N: usize>(bytes: Vec<u8>) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// The values that `data` has from `at` on, and where it ends.
fn unpacked(lua: &Lua, format: &mut Format<'_>, data: &[u8], mut at: usize) -> Result<MultiValue, Raise> {
    let too_short = || Raise::Argument(2, "data string too short".to_owned());
    let mut values = MultiValue::new();
    while let Some((option, size)) = format.next()? {
        let mut size = size;
        at = at.saturating_add(format.padding(at, option, size));
        let mut part = data.get(at..at.saturating_add(size)).ok_or_else(too_short)?;
        if values.len() > RESULTS_MAX {
            return text("stack overflow (too many results)");
        }
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                values.push_back(Value::Number(format.unpack_integer(part, option.is_ascii_lowercase())));
            }
            b'x' => {}
            b'f' => {
                let number = f32::from_le_bytes(array(format.ordered(part.to_vec())));
                values.push_back(Value::Number(f64::from(number)));
            }
            b'd' => values.push_back(Value::Number(f64::from_le_bytes(array(format.ordered(part.to_vec()))))),
            b'c' => {
                if size == 0 {
                    let Some(length) = values.back().and_then(|value| as_number(lua, value)) else {
                        return text("format 'c0' needs a previous size");
                    };
                    values.pop_back();
                    size = usize::try_from(to_integer(length)).unwrap_or(usize::MAX);
                    part = data.get(at..at.saturating_add(size)).ok_or_else(too_short)?;
                }
                values.push_back(Value::String(lua.create_string(part)?));
            }
            b's' => {
                let rest = data.get(at..).unwrap_or_default();
                let Some(length) = memchr::memchr(0, rest) else { return text("unfinished string in data") };
                values.push_back(Value::String(lua.create_string(&rest[..length])?));
                size = length + 1;
            }
            _ => format.control(option)?,
        }
        at += size;
    }
    values.push_back(Value::Number((at + 1) as f64));
    Ok(values)
}

fn unpack(lua: &Lua, args: &Arguments) -> Result<MultiValue, Raise> {
    let (format, data) = (args.string(lua, 1)?, args.string(lua, 2)?);
    // A negative offset is beyond every string.
    let at = args.integer_or(lua, 3, 1)? as u64;
    let Some(at) = at.checked_sub(1) else {
        return Err(Raise::Argument(3, "offset must be 1 or greater".to_owned()));
    };
    unpacked(lua, &mut Format::new(&format.as_bytes()), &data.as_bytes(), at as usize)
}

fn size(lua: &Lua, args: &Arguments) -> Result<f64, Raise> {
    let format = args.string(lua, 1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut at = 0;
    while let Some((option, size)) = format.next()? {
        at += format.padding(at, option, size);
        match option {
            b's' => return Err(Raise::Argument(1, "option 's' has no fixed size".to_owned())),
            b'c' if size == 0 => return Err(Raise::Argument(1, "option 'c0' has no fixed size".to_owned())),
            _ if !option.is_ascii_alphanumeric() => format.control(option)?,
            _ => {}
        }
        at += size;
    }
    Ok(at as f64)
}

/// The table `struct`.
pub(crate) fn table(lua: &Lua) -> mlua::Result<Table> {
    let registry = Registry::new(lua)?;
    registry.add("pack", |lua, args| Ok(lua.create_string(pack(lua, args)?)?))?;
    registry.add("unpack", unpack)?;
    registry.add("size", size)?;
    Ok(registry.table)
}
