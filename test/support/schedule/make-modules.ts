/**
 * Makes the gated control modules of the product for a program that cannot compile: it is a bundle.
 * Prints where they are, as JSON: without gates before plain stores, and with them.
 */
import { gatedModules } from './run.ts';

const [atomic, plain] = [await gatedModules(undefined, false), await gatedModules(undefined, true)];
process.stdout.write(`${JSON.stringify({ atomic, plain })}\n`);
