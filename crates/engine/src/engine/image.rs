//! Writing and loading images of the data; see [`crate::image`].

use super::Engine;
use crate::effect::Effect;
use crate::image::{Image, ImageError, ImageLost, ImageSum};
use crate::keyspace::table::EntryTable;
use fastness_types::WallMs;

impl Engine {
    /// Starts an image of the data as it is now, and gives up an image in progress. A record that would be longer than
    /// `record_bytes_max` is written in parts; with `usize::MAX` no record is, as before
    /// [`FormatLevel::BOUNDS`](fastness_types::FormatLevel).
    pub fn begin_image(&mut self, record_bytes_max: usize) {
        self.drop_image();
        self.image = Some(Box::new(Image::begin(record_bytes_max, self.keyspace.libraries())));
    }

    /// Appends about `budget` bytes of the image to `out`, exceeding the budget by at most one record. Returns the sum
    /// once everything is written, which ends the image.
    ///
    /// # Errors
    /// The image cannot be finished and is given up.
    ///
    /// # Panics
    /// If no image is in progress.
    pub fn image_step(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<Option<ImageSum>, ImageLost> {
        let image = self.image.as_mut().expect("an image is in progress");
        let stepped = image.write_step(&mut self.keyspace, budget, out);
        if !matches!(stepped, Ok(None)) {
            self.drop_image();
        }
        stepped
    }

    /// Whether an image is in progress.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Gives up an image in progress.
    pub fn drop_image(&mut self) {
        if let Some(image) = self.image.take() {
            image.give_up(&mut self.keyspace);
        }
    }

    /// Bytes that an image in progress holds besides the data.
    pub(crate) fn image_bytes(&self) -> u64 {
        self.image.as_ref().map_or(0, |image| image.bytes() as u64)
    }

    /// Called before an effect is performed.
    #[cold]
    pub(crate) fn image_before(&mut self, effect: &Effect<'_>) {
        if let Some(image) = &mut self.image {
            image.before(&mut self.keyspace, effect);
        }
    }

    /// The current unit has ended and cannot be rolled back any more.
    pub(crate) fn image_unit_ended(&mut self) {
        if let Some(image) = &mut self.image {
            image.unit_ended();
        }
    }

    /// Called before the current unit is rolled back.
    pub(crate) fn image_before_rollback(&mut self) {
        if let Some(image) = &mut self.image {
            image.before_rollback();
        }
    }

    /// Takes back the tables that a FLUSHALL of the current unit lent to the image.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[EntryTable]>> {
        self.image.as_mut()?.take_lent_tables()
    }

    /// Adds the records of one chunk to an engine that does not have their keys. `timestamp` is the time of the image's
    /// point, and becomes the access time of the keys. [`Engine::end_image_load`] follows the last chunk.
    ///
    /// # Errors
    /// Bytes that are not records of this version, or parts that do not fit together; records before them have been
    /// added.
    pub fn load_image(&mut self, timestamp: WallMs, chunk: &[u8]) -> Result<(), ImageError> {
        self.advance_timestamp(timestamp);
        self.loader.load(&mut self.keyspace, timestamp, chunk)
    }

    /// Ends loading after the last chunk.
    ///
    /// # Errors
    /// Parts of a value are missing.
    pub fn end_image_load(&mut self) -> Result<(), ImageError> {
        self.loader.end()
    }
}
