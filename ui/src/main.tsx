import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app';
import { applyTheme, loadTheme } from './shell/theme';
import './styles/base.css';
import './styles/shell.css';
import './styles/search.css';
import './styles/trace.css';
import './styles/timeline.css';
import './styles/detail.css';
import './styles/views.css';
import './styles/graph.css';

applyTheme(loadTheme());
// The icon's address is relative, and its base changes with the address of the page.
const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
if (icon) icon.href = new URL(icon.href).href;
const container = document.getElementById('app');
if (container) {
  createRoot(container).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
