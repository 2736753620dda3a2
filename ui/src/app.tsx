/** The application: selects the page for the current address. */

import { lazy, Suspense, useEffect, useState } from 'react';
import { ComparePage } from './compare/ComparePage';
import { isTyping } from './page/keys';
import { TracePage } from './page/TracePage';
import { SearchPage } from './search/SearchPage';
import { Help } from './shell/Help';
import { Link } from './shell/Link';
import { EmptyNotice, LoadingNotice } from './shell/Notice';
import { isEmbedded, type PageLocation, usePageLocation } from './shell/navigation';
import { TopBar } from './shell/TopBar';

const MapPage = lazy(() => import('./map/MapPage'));
const ServicesPage = lazy(() => import('./services/ServicesPage'));

export function App() {
  const place = usePageLocation();
  const [isHelpOpen, setHelpOpen] = useState(false);
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (event.key === '?' && !isTyping(event.target)) setHelpOpen(true);
    };
    window.addEventListener('keydown', onKeyDown);
    return () => window.removeEventListener('keydown', onKeyDown);
  }, []);
  return (
    <>
      {!isEmbedded() && <TopBar place={place} help={() => setHelpOpen(true)} />}
      <CurrentPage place={place} />
      <Help isOpen={isHelpOpen} close={() => setHelpOpen(false)} />
    </>
  );
}

function CurrentPage({ place }: { readonly place: PageLocation }) {
  switch (place.page) {
    case 'search':
      return <SearchPage address={place.query} />;
    case 'trace':
      return <TracePage key={place.id} id={place.id} query={place.query} />;
    case 'compare':
      return <ComparePage a={place.a} b={place.b} />;
    case 'map':
      return (
        <Suspense fallback={<LoadingNotice subject="the map" />}>
          <MapPage query={place.query} />
        </Suspense>
      );
    case 'services':
      return (
        <Suspense fallback={<LoadingNotice subject="the services" />}>
          <ServicesPage query={place.query} />
        </Suspense>
      );
    case 'unknown':
      return (
        <main className="page">
          <EmptyNotice title="Page not found">
            <p>
              There is no page at <code>{place.path}</code>. <Link to="search">Search traces</Link>
            </p>
          </EmptyNotice>
        </main>
      );
  }
}
