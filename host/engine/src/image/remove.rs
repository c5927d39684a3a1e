//! `rmi`: a name of an image, and with its last name the image.

use moat_containers::users::User;
use moat_images::events;
use moat_images::store::{ImageUser, Removed};

use crate::{Engine, EngineError};

impl Engine {
    /// Removes the image that `name` names or identifies, or one of its names. `force` takes names also from an image that
    /// stopped containers use, and removes by its id one with names in several repositories.
    ///
    /// # Errors
    /// When there is no such image, a container uses it, or the store cannot be changed.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>, EngineError> {
        // No container is made of the image meanwhile.
        let _containers = self.containers().lock_all()?;
        let mut image = None;
        let removed = self.store().remove(name, force, |id| {
            image = Some(id.to_string());
            let users = self.containers().users_of(&id.to_string())?.into_iter();
            let user =
                |user: User| ImageUser { container: user.id.short().to_owned(), running: user.is_live };
            Ok::<_, EngineError>(users.map(user).collect())
        })?;
        if let Some(image) = &image {
            self.emit_removed(image, &removed);
        }
        Ok(removed)
    }

    /// Writes down what went of an image.
    pub(crate) fn emit_removed(&self, image: &str, removed: &[Removed]) {
        for one in removed {
            match one {
                Removed::Untagged(_) => events::emit(self.root(), "untag", image, image),
                Removed::Deleted(digest) if digest.to_string() == image => {
                    events::emit(self.root(), "delete", image, image);
                }
                // A layer.
                Removed::Deleted(_) => {}
            }
        }
    }
}
