//! Calls on hashes.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastness_wire::v1;

use crate::calls::NodeClient;
use crate::client::Client;
use crate::error::ClientError;

impl Client {
    /// Returns the value of one field of a hash; absent if there is no such key or field.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hash_get(&self, key: impl AsRef<[u8]>, field: impl AsRef<[u8]>) -> Result<Option<Bytes>, ClientError> {
        let fields = vec![Bytes::copy_from_slice(field.as_ref())];
        Ok(self.hash_fields(key.as_ref(), fields).await?.pop().map(|field| field.value))
    }

    /// Returns the values of several fields of a hash, without those that do not exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hash_get_many<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = N>,
    ) -> Result<BTreeMap<Bytes, Bytes>, ClientError> {
        let fields: Vec<Bytes> = fields.into_iter().map(|field| Bytes::copy_from_slice(field.as_ref())).collect();
        if fields.is_empty() {
            // To the server, no field means all of them.
            return Ok(BTreeMap::new());
        }
        Ok(by_name(self.hash_fields(key.as_ref(), fields).await?))
    }

    /// Returns all fields of a hash; none if there is no such key.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hash_get_all(&self, key: impl AsRef<[u8]>) -> Result<BTreeMap<Bytes, Bytes>, ClientError> {
        Ok(by_name(self.hash_fields(key.as_ref(), Vec::new()).await?))
    }

    async fn hash_fields(&self, key: &[u8], fields: Vec<Bytes>) -> Result<Vec<v1::HashField>, ClientError> {
        let request = v1::HashGetRequest { key: Bytes::copy_from_slice(key), fields, options: self.options() };
        let send = |mut node: NodeClient, request| async move { node.hash_get(request).await };
        Ok(self.read("hash_get", key, request, send).await?.fields)
    }

    /// Sets fields of a hash, at least one; returns how many of them are new.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hash_set<N: AsRef<[u8]>, V: Into<Bytes>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = (N, V)>,
    ) -> Result<u64, ClientError> {
        let key = key.as_ref();
        let field = |(name, value): (N, V)| {
            let name = Bytes::copy_from_slice(name.as_ref());
            v1::HashField { name, value: value.into() }
        };
        let fields: Vec<v1::HashField> = fields.into_iter().map(field).collect();
        if fields.is_empty() {
            return Err(ClientError::invalid("at least one field is needed"));
        }
        let request = v1::HashSetRequest { key: Bytes::copy_from_slice(key), fields, options: self.write_options() };
        let send = |mut node: NodeClient, request| async move { node.hash_set(request).await };
        Ok(self.write("hash_set", key, request, send).await?.added)
    }

    /// Removes fields of a hash, at least one; returns how many there were. A hash without fields ceases to exist.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn hash_delete<N: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        fields: impl IntoIterator<Item = N>,
    ) -> Result<u64, ClientError> {
        let key = key.as_ref();
        let fields: Vec<Bytes> = fields.into_iter().map(|field| Bytes::copy_from_slice(field.as_ref())).collect();
        if fields.is_empty() {
            return Err(ClientError::invalid("at least one field is needed"));
        }
        let request = v1::HashDeleteRequest { key: Bytes::copy_from_slice(key), fields, options: self.write_options() };
        let send = |mut node: NodeClient, request| async move { node.hash_delete(request).await };
        Ok(self.write("hash_delete", key, request, send).await?.deleted)
    }
}

fn by_name(fields: Vec<v1::HashField>) -> BTreeMap<Bytes, Bytes> {
    fields.into_iter().map(|field| (field.name, field.value)).collect()
}
