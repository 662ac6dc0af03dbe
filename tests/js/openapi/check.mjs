// Checks an OpenAPI document against the specification's own schema. Argument: the file.
import SwaggerParser from "@apidevtools/swagger-parser";

const document = await SwaggerParser.validate(process.argv[2]);
console.log(`${document.info.title}: OpenAPI ${document.openapi}, ${Object.keys(document.paths).length} paths, valid.`);
