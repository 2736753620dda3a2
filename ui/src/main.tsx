import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './app';
import { applyTheme, rememberedTheme } from './shell/theme';
import './styles/base.css';
import './styles/shell.css';
import './styles/search.css';
import './styles/trace.css';
import './styles/timeline.css';
import './styles/detail.css';
import './styles/views.css';
import './styles/graph.css';

applyTheme(rememberedTheme());
const place = document.getElementById('app');
if (place) {
  createRoot(place).render(
    <StrictMode>
      <App />
    </StrictMode>,
  );
}
