/* The entry `./testing`: the mesh of an application under test. */

export { temporaryDatabase, TestMesh, type Failure } from '../src/infrastructure/test-mesh.js';
