//! `kamacache._native`: the private half of the Python package, a thin layer
//! over the core. A call answers at once or gives a number or a ticket to wait
//! for; Python code runs the getters (see `python/kamacache/_getter.py`).

mod completions;
mod doorbell;
mod error;
mod evict;
mod fork;
mod getter;
mod group;
mod hits;
mod load;
mod log;
mod node;
mod options;
mod scope;
mod signals;
mod stats;
mod ticket;
mod value;
mod view;
mod wait;
mod waits;

use pyo3::prelude::*;

/// The native module of kamacache.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::completions::Completions;
    #[pymodule_export]
    use crate::end_waits;
    #[pymodule_export]
    use crate::evict::EvictionQueue;
    #[pymodule_export]
    use crate::getter::LoadQueue;
    #[pymodule_export]
    use crate::group::Group;
    #[pymodule_export]
    use crate::hits::Hits;
    #[pymodule_export]
    use crate::load::Load;
    #[pymodule_export]
    use crate::log::LogQueue;
    #[pymodule_export]
    use crate::node::Node;
    #[pymodule_export]
    use crate::scope::Scope;
    #[pymodule_export]
    use crate::ticket::Ticket;
    #[pymodule_export]
    use crate::waits::Waits;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::fork::watch();
        crate::hits::add_get(&module.py().get_type::<Hits>())?;
        module.add("scope", crate::scope::variable(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Called at exit, when the nodes are closed and their threads joined.
#[pyfunction]
fn end_waits(py: Python<'_>) {
    wait::end_waits(py);
}
