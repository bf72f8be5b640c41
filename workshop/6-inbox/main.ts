import { serve } from '../shared/serve.js';
import { AppModule } from './app.module.js';

await serve(AppModule);
