//! Finds the route of a request.

mod path;
mod table;

pub(crate) use self::{
    path::normal,
    table::{Found, Headers, Table},
};
