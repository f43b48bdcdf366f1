/**
 * Resources that abstract-level has attached to a database before they are whole.
 *
 * Threads:     any.
 */

/** What closes its resources with itself: `AbstractLevel`, as far as it is needed here. */
export interface Owner {
  detachResource(resource: never): void;
}

/**
 * What the rest of a resource's constructor makes. If that fails, nobody gets the resource, and its owner
 * must not try to close it.
 */
export function attached<T>(owner: Owner, resource: object, make: () => T): T {
  try {
    return make();
  } catch (error) {
    owner.detachResource(resource as never);
    throw error;
  }
}
