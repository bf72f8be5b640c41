import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './colors.css';
import './base.css';
import './shell.css';
import './panels.css';
import './details.css';
import './overview.css';
import './topology.css';
import './timeline.css';
import './tables.css';
import { App } from './app';

render(<App />, document.getElementById('app')!);
