/** What the tests run: the product, or a variant of it in a directory of its own. */
import { join } from 'node:path';
import * as assets from '../../../src/generated/assets.ts';
import * as index from '../../../src/index.ts';
import * as wasm from '../../../src/memory/wasm.ts';
import * as verification from '../../../src/recovery/verify.ts';
import * as backend from '../../../src/store/file-backend.ts';
import { buildVariant, type Patch } from '../../support/variant.ts';
import type { Product } from './session.ts';

interface Modules {
  readonly assets: typeof assets;
  readonly index: typeof index;
  readonly wasm: typeof wasm;
  readonly verification: typeof verification;
  readonly backend: typeof backend;
}

function productOf(modules: Modules): Product {
  const { CONTROL_WASM, CONTROL_FENCED_WASM, KERNELS_WASM } = modules.assets;
  const { kernels } = modules.wasm.compileModules({
    control: CONTROL_WASM,
    controlFenced: CONTROL_FENCED_WASM,
    kernels: KERNELS_WASM,
  });
  return { ...modules.index, ...modules.verification, ...modules.backend, kernels };
}

export const PRODUCT: Product = productOf({ assets, index, wasm, verification, backend });

/** The product with patches applied, in this process. */
export async function variantOf(patches: readonly Patch[]): Promise<Product> {
  const { root } = await buildVariant(patches);
  const load = (name: string) => import(/* @vite-ignore */ join(root, `src/${name}.ts`));
  return productOf({
    assets: await load('generated/assets'),
    index: await load('index'),
    wasm: await load('memory/wasm'),
    verification: await load('recovery/verify'),
    backend: await load('store/file-backend'),
  });
}
