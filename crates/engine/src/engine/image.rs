//! Images of the data, and reading them back; see [`crate::image`].

use super::Engine;
use crate::effect::Effect;
use crate::image::{Image, ImageError, ImageLost, ImageSum};
use crate::keyspace::table::EntryTable;
use fastness_types::WallMs;

impl Engine {
    /// Begins an image of the data as it is now. One that was begun before is given up. A record that would be longer
    /// than `record_bytes_max` is written in parts; `usize::MAX`: none is, as before
    /// [`FormatLevel::BOUNDS`](fastness_types::FormatLevel).
    pub fn begin_image(&mut self, record_bytes_max: usize) {
        self.drop_image();
        self.image = Some(Box::new(Image::begin(record_bytes_max)));
    }

    /// Appends about `budget` bytes of the image to `out`; at most one record more. Gives the sum once all is written;
    /// the image is then over.
    ///
    /// # Errors
    /// The image cannot be finished, and is given up.
    ///
    /// # Panics
    /// If no image was begun.
    pub fn image_step(&mut self, budget: usize, out: &mut Vec<u8>) -> Result<Option<ImageSum>, ImageLost> {
        let image = self.image.as_mut().expect("an image was begun");
        let stepped = image.write_step(&mut self.keyspace, budget, out);
        if !matches!(stepped, Ok(None)) {
            self.drop_image();
        }
        stepped
    }

    /// Whether an image is being written.
    #[must_use]
    pub fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Gives an image up.
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

    /// The unit at hand has ended and stays.
    pub(crate) fn image_unit_ended(&mut self) {
        if let Some(image) = &mut self.image {
            image.unit_ended();
        }
    }

    /// What has changed since the end of the last unit is about to be rolled back, whole.
    pub(crate) fn image_before_rollback(&mut self) {
        if let Some(image) = &mut self.image {
            image.before_rollback();
        }
    }

    /// The tables that FLUSHALL gave the image in the unit at hand.
    pub(crate) fn take_lent_tables(&mut self) -> Option<Box<[EntryTable]>> {
        self.image.as_mut()?.take_lent_tables()
    }

    /// Adds the records of one chunk to an engine that does not have their keys. `timestamp`: the time of the image's
    /// point, from which the times of access run. [`Engine::end_image_load`] follows the last chunk.
    ///
    /// # Errors
    /// Bytes that are not records of this version, or parts that do not fit; what stood before them has been added.
    pub fn load_image(&mut self, timestamp: WallMs, chunk: &[u8]) -> Result<(), ImageError> {
        self.advance_timestamp(timestamp);
        self.loader.load(&mut self.keyspace, timestamp, chunk)
    }

    /// All chunks have been loaded.
    ///
    /// # Errors
    /// A value of which some parts are missing.
    pub fn end_image_load(&mut self) -> Result<(), ImageError> {
        self.loader.end()
    }
}
