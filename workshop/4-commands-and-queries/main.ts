import { serve } from '../stage/serve.js';
import { AppModule } from './app.module.js';

await serve(AppModule);
