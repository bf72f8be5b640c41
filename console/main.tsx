import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './base.css';
import './shell.css';
import './overview.css';
import './topology.css';
import './timeline.css';
import './tables.css';
import { App } from './app';

render(<App />, document.getElementById('app')!);
