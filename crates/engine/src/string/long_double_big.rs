//! Natural numbers of any size: just what reading and writing a `long double` takes.

/// Little-endian, without zeros at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Big {
    limbs: Vec<u32>,
}

const LIMB: usize = 32;
const CHUNK: u32 = 1_000_000_000;
const CHUNK_DIGITS: usize = 9;
const HEX_DIGITS: usize = 7;

impl Big {
    pub(super) fn from_u64(value: u64) -> Big {
        Big { limbs: vec![value as u32, (value >> LIMB) as u32] }.trimmed()
    }

    /// As many digits at a time as fit a limb: what this costs grows with the square of their number.
    pub(super) fn from_digits(digits: &[u8], radix: u32) -> Big {
        let at_once = if radix == 10 { CHUNK_DIGITS } else { HEX_DIGITS };
        let mut big = Big { limbs: Vec::new() };
        for chunk in digits.chunks(at_once) {
            let summand = chunk.iter().fold(0, |sum, digit| sum * radix + u32::from(*digit));
            big.multiply_add(radix.pow(chunk.len() as u32), summand);
        }
        big
    }

    fn trimmed(mut self) -> Big {
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        self
    }

    fn multiply_add(&mut self, factor: u32, summand: u32) {
        let mut carry = u64::from(summand);
        for limb in &mut self.limbs {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= LIMB;
        }
        if carry > 0 {
            self.limbs.push(carry as u32);
        }
    }

    /// Divides and returns the rest.
    fn divide(&mut self, divisor: u32) -> u32 {
        let mut rest = 0u64;
        for limb in self.limbs.iter_mut().rev() {
            rest = rest << LIMB | u64::from(*limb);
            *limb = (rest / u64::from(divisor)) as u32;
            rest %= u64::from(divisor);
        }
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        rest as u32
    }

    pub(super) fn multiply_by_power_of_ten(&mut self, power: usize) {
        for _ in 0..power / CHUNK_DIGITS {
            self.multiply_add(CHUNK, 0);
        }
        self.multiply_add(10u32.pow((power % CHUNK_DIGITS) as u32), 0);
    }

    /// Divides; true if anything was left over. A quotient of quotients is the quotient by the product, and nothing is
    /// left over exactly if nothing is left over at each step.
    pub(super) fn divide_by_power_of_ten(&mut self, power: usize) -> bool {
        let mut rest = false;
        for _ in 0..power / CHUNK_DIGITS {
            rest |= self.divide(CHUNK) != 0;
        }
        self.divide(10u32.pow((power % CHUNK_DIGITS) as u32)) != 0 || rest
    }

    /// Number of bits up to the highest that is set.
    pub(super) fn bits(&self) -> usize {
        self.limbs.last().map_or(0, |top| self.limbs.len() * LIMB - top.leading_zeros() as usize)
    }

    pub(super) fn bit(&self, index: usize) -> bool {
        self.limbs.get(index / LIMB).is_some_and(|limb| limb >> (index % LIMB) & 1 == 1)
    }

    /// Whether any bit below `index` is set.
    pub(super) fn any_below(&self, index: usize) -> bool {
        let whole = (index / LIMB).min(self.limbs.len());
        let part = self.limbs.get(index / LIMB).map_or(0, |limb| limb & ((1u64 << (index % LIMB)) - 1) as u32);
        part != 0 || self.limbs[..whole].iter().any(|limb| *limb != 0)
    }

    pub(super) fn low_u64(&self) -> u64 {
        let limb = |i| u64::from(self.limbs.get(i).copied().unwrap_or(0));
        limb(0) | limb(1) << LIMB
    }

    /// The 64 bits from `index` on, and the number itself for what is below.
    pub(super) fn split(&self, index: usize) -> (u64, &Big) {
        let limb = |i: usize| u128::from(self.limbs.get(i).copied().unwrap_or(0));
        let first = index / LIMB;
        let three = limb(first) | limb(first + 1) << LIMB | limb(first + 2) << (2 * LIMB);
        ((three >> (index % LIMB)) as u64, self)
    }

    pub(super) fn shifted(&self, bits: usize) -> Big {
        let mut limbs = vec![0; bits / LIMB];
        let mut carry = 0u64;
        for &limb in &self.limbs {
            carry |= u64::from(limb) << (bits % LIMB);
            limbs.push(carry as u32);
            carry >>= LIMB;
        }
        limbs.push(carry as u32);
        Big { limbs }.trimmed()
    }

    /// Divides by `CHUNK` eight times in one pass, whose steps do not wait for each other, and returns the rests.
    fn divide_by_chunks(&mut self) -> [u32; 8] {
        let mut rests = [0u64; 8];
        for limb in self.limbs.iter_mut().rev() {
            for rest in &mut rests {
                let part = *rest << LIMB | u64::from(*limb);
                *limb = (part / u64::from(CHUNK)) as u32;
                *rest = part % u64::from(CHUNK);
            }
        }
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        rests.map(|rest| rest as u32)
    }

    pub(super) fn into_decimal(mut self) -> String {
        let mut chunks = Vec::new();
        while !self.limbs.is_empty() {
            chunks.extend(self.divide_by_chunks());
        }
        let used = chunks.iter().rposition(|chunk| *chunk != 0).map_or(0, |last| last + 1);
        let mut chunks = chunks[..used].iter().rev();
        let mut text = chunks.next().map_or_else(|| "0".to_owned(), u32::to_string);
        chunks.for_each(|chunk| text.push_str(&format!("{chunk:0CHUNK_DIGITS$}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Big;
    use proptest::prelude::*;

    proptest! {
        /// Through as many passes of eight chunks as there are, and with a last one of any length.
        #[test]
        fn what_is_read_is_written(text in "[1-9][0-9]{0,300}") {
            let digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
            prop_assert_eq!(Big::from_digits(&digits, 10).into_decimal(), text);
        }

        #[test]
        fn hexadecimal_digits_are_read_seven_at_a_time(value: u64) {
            let text = format!("{value:x}");
            let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
            prop_assert_eq!(Big::from_digits(&digits, 16), Big::from_u64(value));
        }

        /// Zeros in the middle and at the end are chunks, too.
        #[test]
        fn powers_of_ten_have_their_zeros(power in 0usize..5_000) {
            let mut big = Big::from_u64(7);
            big.multiply_by_power_of_ten(power);
            prop_assert_eq!(big.into_decimal(), format!("7{}", "0".repeat(power)));
        }
    }

    #[test]
    fn nothing_is_zero() {
        assert_eq!(Big::from_u64(0).into_decimal(), "0");
        assert_eq!(Big::from_digits(&[], 10).into_decimal(), "0");
    }
}
