//! The calls on positions on the globe; see those of [`crate::Client`].

use super::BlockingClient;
use crate::error::ClientError;
use crate::geo::{GeoArea, GeoCenter, GeoMatch, GeoPosition};

impl BlockingClient {
    /// Adds members, at least one, at positions, or gives them these. See [`crate::Client::geo_add`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn geo_add<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = (N, GeoPosition)>,
    ) -> Result<u64, ClientError> {
        self.wait(self.client.geo_add(key, members))
    }

    /// Returns the position of each of several members, at least one. See [`crate::Client::geo_positions`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn geo_positions<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<Option<GeoPosition>>, ClientError> {
        self.wait(self.client.geo_positions(key, names))
    }

    /// Returns the distance between two members, in metres. See [`crate::Client::geo_distance`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn geo_distance(
        &self,
        key: impl AsRef<[u8]>,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Result<Option<f64>, ClientError> {
        self.wait(self.client.geo_distance(key, from, to))
    }

    /// Returns up to `most` members of an area, the nearest first. See [`crate::Client::geo_search`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn geo_search(
        &self,
        key: impl AsRef<[u8]>,
        center: GeoCenter,
        area: GeoArea,
        most: u32,
    ) -> Result<Vec<GeoMatch>, ClientError> {
        self.wait(self.client.geo_search(key, center, area, most))
    }
}
