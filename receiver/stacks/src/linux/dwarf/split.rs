//! Split debug information: the functions of a unit are in a file of their own, which the compiler has left beside its
//! object file, or in one package of all of them.

use gimli::DwarfPackage;

use super::entries::{Dwarf, Forms, Opened, Unit, open};
use super::sections::{load_package, load_split};
use crate::linux::beside::Beside;
use crate::linux::object::{Means, Object};
use crate::linux::pages::{Meter, Window};

/// Bytes of a path.
const MAX_PATH: usize = 4096;

/// Finds them.
pub(super) struct Splits {
    beside: Beside,
    means: Means,
    meter: Meter,
    package: Option<Package>,
}

/// Looked for once.
struct Package(Option<DwarfPackage<Window>>);

impl Splits {
    pub(super) fn new(beside: &Beside, means: &Means, meter: &Meter) -> Self {
        Self { beside: beside.clone(), means: means.clone(), meter: meter.clone(), package: None }
    }

    /// What a unit has been split into, if it has been, and where its texts are. `None` if that cannot be found.
    pub(super) fn of(&mut self, dwarf: &Dwarf, skeleton: &Opened) -> Option<(Dwarf, Unit)> {
        let (name, id) = (skeleton.split.as_ref()?, skeleton.unit.dwo_id?);
        let package = self.package.get_or_insert_with(|| {
            let object: Option<Object> = self.beside.package();
            Package(object.and_then(|object| load_package(&object, &self.means, &self.meter)))
        });
        let packed = package.0.as_ref().and_then(|package| package.find_cu(id, dwarf).ok().flatten());
        let split = packed.or_else(|| {
            let folder =
                skeleton.unit.comp_dir.as_ref().map(|folder| folder.text(MAX_PATH)).unwrap_or_default();
            let object = self.beside.split(&folder, &name.text(MAX_PATH))?;
            let mut split = load_split(&object, &self.means, &self.meter)?;
            split.make_dwo(dwarf);
            Some(split)
        })?;
        let mut headers = split.units();
        let mut forms = Forms::default();
        while let Ok(Some(header)) = headers.next() {
            let Ok(opened) = open(&split, header, &mut forms) else { continue };
            if opened.unit.dwo_id == Some(id) {
                let mut unit = opened.unit;
                unit.copy_relocated_attributes(&skeleton.unit);
                return Some((split, unit));
            }
        }
        None
    }
}
