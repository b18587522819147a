//! Finds the route of a request.

mod path;
mod table;

pub(crate) use self::{
    path::{has_other_readings, normal, other_readings},
    table::{Found, Headers, Table},
};
