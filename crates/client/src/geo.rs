//! Calls on positions on the globe, which are the members of a sorted set: commands with typed arguments and replies.

use bytes::Bytes;

use crate::client::Client;
use crate::error::ClientError;
use crate::reply::ReplyValue;
use crate::typed::{Words, count, decimal, each, optional};

/// A position on the globe. Stored positions are rounded by less than a metre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeoPosition {
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// Degrees north, -85.05112878 to 85.05112878.
    pub latitude: f64,
}

/// The middle of what is searched.
#[derive(Debug, Clone, PartialEq)]
pub enum GeoCenter {
    /// The position of a member.
    Member(Bytes),
    /// A position.
    Position(GeoPosition),
}

/// What is searched around the middle, in metres.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GeoArea {
    /// A circle.
    Circle {
        /// Its radius.
        radius: f64,
    },
    /// A rectangle.
    Rectangle {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
}

/// A member that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct GeoMatch {
    /// Its name.
    pub name: Bytes,
    /// Its distance from the middle, in metres.
    pub distance: f64,
    /// Its position.
    pub position: GeoPosition,
}

fn position(reply: &ReplyValue) -> Option<GeoPosition> {
    match reply.as_values()? {
        [longitude, latitude] => Some(GeoPosition { longitude: decimal(longitude)?, latitude: decimal(latitude)? }),
        _ => None,
    }
}

fn found(reply: &ReplyValue) -> Option<GeoMatch> {
    match reply.as_values()? {
        [ReplyValue::Bytes(name), distance, at] => {
            Some(GeoMatch { name: name.clone(), distance: decimal(distance)?, position: position(at)? })
        }
        _ => None,
    }
}

impl Client {
    /// Adds members, at least one, at positions, or gives them these; returns how many are new.
    ///
    /// # Errors
    /// See [`ClientError`]; a position that is not on the globe is refused.
    pub async fn geo_add<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        members: impl IntoIterator<Item = (N, GeoPosition)>,
    ) -> Result<u64, ClientError> {
        let words = members.into_iter().flat_map(|(name, at)| {
            let number = |degrees: f64| Bytes::from(degrees.to_string());
            [number(at.longitude), number(at.latitude), Bytes::copy_from_slice(name.as_ref())]
        });
        self.typed_write(Words::new("GEOADD").key(key).some(words)?, count).await
    }

    /// Returns the position of each of several members, at least one; absent if there is no such member.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn geo_positions<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Vec<Option<GeoPosition>>, ClientError> {
        let read = each(|one| optional(position)(one));
        self.typed_read(Words::new("GEOPOS").key(key).some(names)?, read).await
    }

    /// Returns the distance between two members, in metres; absent if one of them is missing.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn geo_distance(
        &self,
        key: impl AsRef<[u8]>,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
    ) -> Result<Option<f64>, ClientError> {
        self.typed_read(Words::new("GEODIST").key(key).arg(from).arg(to).arg("m"), optional(decimal)).await
    }

    /// Returns up to `most` members of an area, the nearest first.
    ///
    /// # Errors
    /// See [`ClientError`]; a middle that is a missing member is refused.
    pub async fn geo_search(
        &self,
        key: impl AsRef<[u8]>,
        center: GeoCenter,
        area: GeoArea,
        most: u32,
    ) -> Result<Vec<GeoMatch>, ClientError> {
        let words = Words::new("GEOSEARCH").key(key);
        let words = match center {
            GeoCenter::Member(name) => words.arg("FROMMEMBER").arg(name),
            GeoCenter::Position(at) => words.arg("FROMLONLAT").number(at.longitude).number(at.latitude),
        };
        let words = match area {
            GeoArea::Circle { radius } => words.arg("BYRADIUS").number(radius),
            GeoArea::Rectangle { width, height } => words.arg("BYBOX").number(width).number(height),
        };
        let words = words.args(["m", "ASC", "COUNT"]).number(most).args(["WITHCOORD", "WITHDIST"]);
        self.typed_read(words, each(found)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read() {
        let at = ReplyValue::Array(vec![ReplyValue::Double(13.5), ReplyValue::Bytes("-38".into())]);
        let is = GeoPosition { longitude: 13.5, latitude: -38.0 };
        assert_eq!((position(&at), position(&ReplyValue::Null)), (Some(is), None));
        let one = vec![ReplyValue::Bytes("a".into()), ReplyValue::Bytes("1.5000".into()), at];
        let expected = GeoMatch { name: "a".into(), distance: 1.5, position: is };
        assert_eq!(found(&ReplyValue::Array(one)), Some(expected));
        assert_eq!(found(&ReplyValue::Bytes("a".into())), None);
    }
}
